"""Last values of absent fields: absent is not null, so a row keeps what the warehouse holds.

Only the columns that a table declares as ``not_kept`` become null.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import pyarrow as pa

from ..api.envelope import Record
from ..schema import Table
from .conversion import arrow_type
from .fingerprint import mark, xor
from .records import ObservedRecord
from .schema_drift import SchemaDrift
from .stored_rows import StoredRows
from .undeclared import VARIANT, UndeclaredColumns


class CarryForward:
    """Fills the absent fields of one table's records with their last values.

    Args:
        table: The table's declared columns.
        undeclared: Its other columns.
        stored: The rows the warehouse holds.
        drift: Collects absent fields.
    """

    def __init__(
        self,
        table: Table,
        undeclared: UndeclaredColumns,
        stored: StoredRows,
        drift: SchemaDrift,
    ) -> None:
        self._table = table
        self._undeclared = undeclared
        self._stored = stored
        self._drift = drift
        self._kept_by_mark: dict[bytes, tuple[str, ...]] = {}

    def is_same(self, record: Record, content: bytes, row: bytes) -> bool:
        """Return whether a row holds the record's values, and last values carried forward.

        False can also mean that it is not known yet: building the row finds out.

        Args:
            record: The record.
            content: The record's digest.
            row: The row's digest.
        """
        if content == row or not row or not self._kept_by_mark:
            return content == row
        kept = self._kept_by_mark.get(xor(content, row))
        return kept is not None and self._undeclared.columns_of(tuple(record)).isdisjoint(kept)

    def fill(
        self, records: Sequence[ObservedRecord], arrays: dict[str, pa.Array]
    ) -> list[ObservedRecord]:
        """Carry forward the values the warehouse holds into absent fields.

        Args:
            records: Records that were read.
            arrays: Their columns, which are changed.

        Returns:
            The records, each with the names of the columns whose last values were kept.
        """
        absent_rows = self._absent_rows(records)
        self._drift.absent |= absent_rows.keys() & self._table.columns.keys()
        absent_rows = {n: r for n, r in absent_rows.items() if n not in self._table.not_kept}
        kept = self._fill_columns(records, arrays, absent_rows) if absent_rows else {}
        # Not every record has an undeclared field: it is missing only where it was before.
        self._drift.absent |= {
            name.removesuffix(VARIANT) for names in kept.values() for name in names
        }
        filled = list(records)
        for row, names in kept.items():
            self._kept_by_mark.setdefault(mark(names), tuple(names))
            filled[row] = filled[row]._replace(kept=tuple(names))
        return filled

    def _fill_columns(
        self,
        records: Sequence[ObservedRecord],
        arrays: dict[str, pa.Array],
        absent_rows: dict[str, list[int]],
    ) -> dict[int, list[str]]:
        """Carry last values forward by column; return the columns that kept them, by row number."""
        kept: dict[int, list[str]] = {}
        ids = sorted({records[row].id for rows in absent_rows.values() for row in rows})
        stored = self._stored.values(ids, list(absent_rows))
        keys = stored.column(self._table.key).to_pylist()
        position = {key: n for n, key in enumerate(keys)}
        for name, rows in absent_rows.items():
            values = arrays[name].to_pylist() if name in arrays else [None] * len(records)
            last = stored.column(name).to_pylist()
            for row in rows:
                if (n := position.get(records[row].id)) is not None and last[n] is not None:
                    values[row] = last[n]
                    kept.setdefault(row, []).append(name)
            kind = self._table.columns.get(name) or self._undeclared.kinds[name]
            arrays[name] = pa.array(values, arrow_type(kind))
        return kept

    def _absent_rows(self, records: Iterable[ObservedRecord]) -> dict[str, list[int]]:
        """Return, by column, the row numbers of records in which the column's field is absent."""
        shapes = [tuple(observed.record) for observed in records]
        columns_of = {shape: self._undeclared.columns_of(shape) for shape in set(shapes)}
        absent = {
            name: [row for row, shape in enumerate(shapes) if name not in columns_of[shape]]
            for name in (*self._table.columns, *self._undeclared.known)
            if any(name not in columns for columns in columns_of.values())
        }
        absent.pop(
            self._table.key, None
        )  # the key is taken from the id by which the record was listed
        return absent
