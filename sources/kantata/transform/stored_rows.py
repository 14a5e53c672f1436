"""Reads rows that the warehouse holds, to load them again with little changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime

import orjson
import pyarrow as pa

from ..api.envelope import Record
from ..schema import BILLING_MILESTONES, GONE_COLUMNS, Kind, Table
from .conversion import arrow_type, timestamps
from .undeclared import UndeclaredColumns

LastValues = Callable[[str, str, Sequence[str], Sequence[str]], pa.Table]
"""Looks up rows by table, its key, ids and columns; returns the key, then the columns."""


class StoredRows:
    """Reads rows of one table that the warehouse holds.

    Args:
        table: The table's declared columns.
        undeclared: Its other columns.
        last_values: Looks values up in the warehouse.
    """

    def __init__(
        self, table: Table, undeclared: UndeclaredColumns, last_values: LastValues
    ) -> None:
        self._table = table
        self._undeclared = undeclared
        self._last_values = last_values

    def values(self, ids: Sequence[str], columns: Sequence[str]) -> pa.Table:
        """Return columns of the stored rows of these ids: the key, then these columns."""
        return self._last_values(self._table.name, self._table.key, ids, columns)

    def rows(self, ids: Sequence[str], at: datetime, **texts: str) -> pa.Table:
        """Return the stored rows of these ids as if read at this time, some texts changed."""
        key = self._table.key
        kinds = self._table.columns | self._undeclared.kinds | {"row_hash": Kind.TEXT}
        del kinds[key]
        stored = self.values(ids, list(kinds))
        arrays = {key: stored.column(key).cast(pa.string())}
        for name, kind in kinds.items():
            values = stored.column(name).to_pylist()
            arrays[name] = pa.array([texts.get(name, v) for v in values], arrow_type(kind))
        arrays["observed_at"] = timestamps([at] * stored.num_rows)
        return pa.table(arrays | null_gone_columns(self._table, stored.num_rows))

    def records(self, ids: Sequence[str]) -> dict[str, Record]:
        """Return the stored rows of these ids as records of Kantata's, by id.

        A null is kept only in declared fields: in others it may mean that the field was absent.
        """
        if not ids:
            return {}
        kinds = {**self._table.columns, **self._undeclared.kinds}
        names = [name for name in kinds if name != self._table.key]
        rows = self.values(ids, names).to_pylist()
        return {row[self._table.key]: self._record(row, kinds) for row in rows}

    def _record(self, row: Record, kinds: dict[str, Kind]) -> Record:
        """Return one stored row as a record of Kantata's, its JSON text parsed."""
        json_columns = {name for name, kind in kinds.items() if kind in (Kind.JSON, Kind.IDS)}
        return {
            name: orjson.loads(value) if value and name in json_columns else value
            for name, value in row.items()
            if value is not None or name in self._table.columns
        }


def null_gone_columns(table: Table, rows: int) -> dict[str, pa.Array]:
    """Return ``GONE_COLUMNS`` with nulls for so many stored rows; only milestones have them."""
    columns = GONE_COLUMNS if table is BILLING_MILESTONES else {}
    return dict.fromkeys(columns, timestamps([None] * rows))
