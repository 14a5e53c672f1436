"""What each raw table holds already: keys, hashes, open rejects, last values."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pyarrow as pa

from .database import DATASET, Database

# The latest version and the links of each milestone beside it. Each side may hold ids the other
# lacks, since dlt loads the tables one after another and a crash may fall in between.
_MILESTONES = f"""
select
    id,
    m.row_hash,
    coalesce(v.version, 0) as version,
    v.row_hash as version_hash,
    coalesce(l.links, '') as links
from {DATASET}.billing_milestones m
full join (
    select distinct on (id) id, version, row_hash
    from {DATASET}.billing_milestone_versions
    order by id, version desc
) v using (id)
full join (
    select billing_milestone_id as id, string_agg(invoice_id, ',') as links
    from {DATASET}.billing_milestone_invoices
    where removed_at is null
    group by billing_milestone_id
) l using (id)
"""
_IDS_AT_ONCE = 1000


class Holdings:
    """Reads what the warehouse holds.

    Args:
        database: A connection, open as long as this is used.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.columns = database.tables()

    def milestones(self) -> Iterator[pa.RecordBatch]:
        """Each milestone's id, row_hash, last version, its hash, and invoices joined by commas."""
        if self._has("billing_milestones"):
            yield from self._database.batches(_MILESTONES)

    def hashes(self, keys: Mapping[str, str]) -> dict[str, Iterator[pa.RecordBatch]]:
        """Key and row_hash of every row, by table.

        Args:
            keys: The key column of each table.
        """
        return {
            table: self._database.batches(f"select {key}, row_hash from {DATASET}.{table}")
            for table, key in keys.items()
            if self._has(table)
        }

    def rejects(self) -> list[dict[str, Any]]:
        """Rejected records that are not resolved."""
        columns = ("table_name", "id", "row_hash", "reason", "raw", "observed_at", "resolved_at")
        if not self._has("rejected_records"):
            return []
        rows = self._database.rows(
            f"select {', '.join(columns)} from {DATASET}.rejected_records where resolved_at is null"
        )
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def last_values(
        self, table: str, key: str, ids: Sequence[str], columns: Sequence[str]
    ) -> pa.Table:
        """The rows of these ids: the key, then the columns; null where there is no such column."""
        held = self.columns.get(table, {})
        wanted = [key, *(column for column in columns if column in held)]
        rows: list[tuple[Any, ...]] = []
        for start in range(0, len(ids) if held else 0, _IDS_AT_ONCE):
            chunk = ids[start : start + _IDS_AT_ONCE]
            marks = ", ".join(["%s"] * len(chunk))
            rows += self._database.rows(
                f"select {', '.join(wanted)} from {DATASET}.{table} where {key} in ({marks})",
                *chunk,
            )
        found = {name: [row[n] for row in rows] for n, name in enumerate(wanted)}
        nothing = [None] * len(rows)
        return pa.table({name: found.get(name, nothing) for name in (key, *columns)})

    def _has(self, table: str) -> bool:
        return table in self.columns
