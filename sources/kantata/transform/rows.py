"""Makes rows of records: typed Arrow tables, with new columns, kept last values and rejects.

A record that cannot be converted exactly is rejected whole, with its reason: an amount never
becomes NULL or a rounded number. An undeclared field gets a column of the type of its first value;
a later value that does not fit goes to ``<column>__v_text``, so nothing is lost.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import is_

import orjson
import pyarrow as pa

from ..api.envelope import Record
from ..schema import Table
from ..warehouse_state import EmptyState
from . import nested_drift
from .carry_forward import CarryForward
from .conversion import timestamps
from .declared_columns import convert_declared
from .fingerprint import digest, row_hash
from .records import ObservedRecord, Reject, fields_of, values_of
from .schema_drift import SchemaDrift
from .stored_rows import LastValues, StoredRows, null_gone_columns
from .undeclared import FURTHER, UndeclaredColumns

Batch = tuple[str, pa.Table]
"""The name of a raw table, and rows of it."""


@dataclass(frozen=True, kw_only=True)
class TypedRows:
    """The rows and rejects made of some records.

    Args:
        table: The rows; None if every record was rejected.
        records: The accepted records, in the order of the rows.
        rejects: The other records.
    """

    table: pa.Table | None = None
    records: list[ObservedRecord] = field(default_factory=list)
    rejects: list[Reject] = field(default_factory=list)

    def rows_of(self, records: Sequence[ObservedRecord]) -> pa.Table | None:
        """Return the typed rows of some of the records, in this order; None if there are none."""
        if self.table is None or not records:
            return None
        if len(records) == len(self.records) and all(map(is_, records, self.records)):
            return self.table
        positions = {id(record): row for row, record in enumerate(self.records)}
        return self.table.take([positions[id(record)] for record in records])


class RowBuilder:
    """Makes rows of one table.

    Args:
        table: The table's declared columns.
        known_columns: Columns the warehouse has, with their dlt types, declared ones included.
        last_values: Looks up the warehouse's values for fields absent from a record.
        reported: Schema changes that earlier runs reported, oldest first.
    """

    def __init__(
        self,
        table: Table,
        known_columns: Mapping[str, str],
        last_values: LastValues | None = None,
        reported: Iterable[str] = (),
    ) -> None:
        self.table = table
        self.drift = SchemaDrift(table.name, reported, table.not_kept)
        self._undeclared = UndeclaredColumns(table, known_columns, self.drift)
        self.stored = StoredRows(table, self._undeclared, last_values or EmptyState().last_values)
        self._carry_forward = CarryForward(table, self._undeclared, self.stored, self.drift)
        self._unseen = set(table.decisive)
        self._has_records = False

    def watch(self, records: Collection[Record]) -> None:
        """Note whether fields that were missing from earlier rows are there again."""
        self.drift.watch(records, self._undeclared.columns_of)
        self._has_records = self._has_records or bool(records)
        if self._unseen:
            self._unseen -= {name for name in self._unseen if any(name in r for r in records)}

    def missing_decisive(self) -> list[str]:
        """Return the decisive columns that no record had which rows were made of."""
        return sorted(self._unseen) if self._has_records else []

    def is_same(self, record: Record, content: bytes, row: bytes) -> bool:
        """Return whether a row holds the record's values: see ``CarryForward.is_same``."""
        return self._carry_forward.is_same(record, content, row)

    def build(self, records: Sequence[ObservedRecord]) -> TypedRows:
        """Build the rows of these records, and rejects of those that cannot be typed."""
        if not records:
            return TypedRows()
        declared = convert_declared(self.table, records)
        if not declared.reasons:
            return self._complete(records, declared.arrays)
        rejects = declared.rejects(records)
        good = [observed for row, observed in enumerate(records) if row not in declared.reasons]
        typed = self.build(good)
        return TypedRows(table=typed.table, records=typed.records, rejects=rejects + typed.rejects)

    def _complete(
        self, records: Sequence[ObservedRecord], arrays: dict[str, pa.Array]
    ) -> TypedRows:
        """Complete typed rows with all columns that are not declared."""
        undeclared = [name for name in fields_of(records) if name not in self.table.columns]
        further: list[str] = []
        for name, values in values_of(records, undeclared).items():
            if self._undeclared.is_further(name):
                further.append(name)
            else:
                arrays |= self._undeclared.arrays(name, values)
        if further:
            arrays |= self._undeclared.arrays(FURTHER, _further_fields(records, further))
        self._note_nested(records)
        filled = self._carry_forward.fill(records, arrays)
        arrays["row_hash"] = pa.array([row_hash(observed.row_digest) for observed in filled])
        arrays["observed_at"] = timestamps([observed.observed_at for observed in filled])
        arrays |= null_gone_columns(self.table, len(filled))
        return TypedRows(table=pa.table(arrays), records=filled)

    def _note_nested(self, records: Sequence[ObservedRecord]) -> None:
        """Note what is new within objects, compared with the same rows in the warehouse."""
        known = [observed for observed in records if observed.before]
        some = known[: nested_drift.ROWS_LOOKED_AT]
        columns = self._columns_of_objects(some)
        if not columns:
            return
        stored = self.stored.values([o.id for o in some], sorted(columns.values()))
        for name, column in columns.items():
            texts = [text for text in stored.column(column).to_pylist() if text is not None]
            if texts:
                values = [observed.record.get(name) for observed in some]
                self.drift.nested += nested_drift.nested_changes(column, texts, values)

    def _columns_of_objects(self, records: Sequence[ObservedRecord]) -> dict[str, str]:
        """Return, by field, the columns in which the rows hold undeclared objects."""
        columns = {
            name: self._undeclared.column_name(name)
            for observed in records
            for name, value in observed.record.items()
            if type(value) is dict
            and name not in self.table.columns
            and not self._undeclared.is_further(name)
        }
        return {name: c for name, c in columns.items() if c in self._undeclared.known}

    def last_rows(
        self, ids: Sequence[str], at: datetime, raw_records: Mapping[str, str]
    ) -> list[pa.Table]:
        """Return the rows the warehouse holds of these ids, or build them of records as received.

        A row that a crash kept from being loaded is made of the record as received.

        Args:
            ids: The rows.
            at: The time to set.
            raw_records: The last record received of each, by id.
        """
        stored = self.stored.rows(ids, at)
        stored_ids = stored.column(self.table.key).to_pylist()
        unstored = sorted(raw_records.keys() & (set(ids) - set(stored_ids)))
        records = {id_: orjson.loads(raw_records[id_]) for id_ in unstored}
        typed = self.build(
            [ObservedRecord(id_, record, digest(record), at) for id_, record in records.items()]
        )
        return [stored] if typed.table is None else [stored, typed.table]


def _further_fields(records: Sequence[ObservedRecord], names: Sequence[str]) -> list[object]:
    """Return for each row an object of the fields that have no column; None if it has none."""
    values = [
        {name: o.record[name] for name in names if o.record.get(name) is not None} for o in records
    ]
    return [value or None for value in values]
