"""What each raw table holds already: keys, hashes, open rejects, last values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any

import pyarrow as pa

from warehouse.database import DATASET, Database

# The latest version and the links of each milestone beside it. Each side may hold ids the other
# lacks, since dlt loads the tables one after another and a crash may fall in between. With
# `distinct on`, DuckDB could not list a million within 256 MB; like this it can within 100.
_MILESTONE_HASHES = f"""
select
    id,
    case
        when m.deleted_at is not null then 'deleted'
        when m.access_lost_at is not null then 'lost'
        else m.row_hash
    end as row_hash,
    coalesce(v.version, 0) as version,
    case when v.change_type = 'deleted' then 'deleted' else v.row_hash end as version_hash,
    coalesce(l.links, '') as links
from (select * from {DATASET}.billing_milestones where {{m}}) m
full join (
    select id, version, row_hash, change_type
    from {DATASET}.billing_milestone_versions
    join (
        select id, max(version) as version
        from {DATASET}.billing_milestone_versions
        where {{v}}
        group by id
    ) latest using (id, version)
    where {{v}}
) v using (id)
full join (
    select billing_milestone_id as id, string_agg(invoice_id, ',') as links
    from {DATASET}.billing_milestone_invoices
    where removed_at is null and {{l}}
    group by billing_milestone_id
) l using (id)
"""
_LIVE = "deleted_at is null and access_lost_at is null"
_IDS_PER_QUERY = 1000


class LoadedState:
    """Reads what the warehouse holds.

    Args:
        database: A connection, open as long as this is used.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self.columns = database.tables()

    def milestone_hashes(self, ids: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Each milestone's id, row_hash, last version, its hash, and invoices joined by commas.

        A hash is ``deleted`` or ``lost`` of what is marked so.

        Args:
            ids: Which milestones; None for all.
        """
        if ids is None:
            yield from self._database.batches(
                _MILESTONE_HASHES.format(m="true", v="true", l="true")
            )
            return
        for chunk, marks in _chunks(ids):
            own, link = f"id in ({marks})", f"billing_milestone_id in ({marks})"
            sql = _MILESTONE_HASHES.format(m=own, v=own, l=link)
            yield from self._database.batches(sql, *chunk, *chunk, *chunk, *chunk)

    def live_count(self) -> int:
        """Milestones marked neither as deleted nor as out of reach, rejected ones included."""
        sql = (
            f"select count(*) from (select id from {DATASET}.billing_milestones where {_LIVE} "
            f"union select id from {DATASET}.rejected_records "
            "where table_name = 'billing_milestones' and resolved_at is null) live"
        )
        return int(self._database.rows(sql)[0][0])

    def recent_ids(self, most: int) -> list[str]:
        """Some of those that are not rejected, the last ones seen."""
        sql = (
            f"select id from {DATASET}.billing_milestones where {_LIVE} "
            f"order by observed_at desc limit {most:d}"
        )
        return [row[0] for row in self._database.rows(sql)]

    def raw_records(self, ids: Sequence[str]) -> dict[str, str]:
        """The last record received of each milestone, by id."""
        return dict(
            self._rows_by_id(
                f"select distinct on (id) id, raw from {DATASET}.billing_milestone_versions "
                "where raw is not null and id in ({}) order by id, version desc",
                ids,
            )
        )

    def milestones_on_invoices(self, invoice_ids: Sequence[str]) -> list[str]:
        """Milestones on these invoices."""
        sql = (
            f"select billing_milestone_id from {DATASET}.billing_milestone_invoices "
            "where removed_at is null and invoice_id in ({})"
        )
        return [row[0] for row in self._rows_by_id(sql, invoice_ids)]

    def draft_invoices(self) -> list[str]:
        """Invoices that are drafts, as far as is known."""
        sql = f"select id from {DATASET}.invoices where draft and status is distinct from 'deleted'"
        return [row[0] for row in self._database.rows(sql)]

    def unlinked_invoices(self) -> list[str]:
        """Invoices whose last milestone left them after they were last read."""
        sql = f"""
            select i.id from {DATASET}.invoices i
            where exists (
                select 1 from {DATASET}.billing_milestone_invoices l
                where l.invoice_id = i.id and l.removed_at >= i.observed_at
            ) and not exists (
                select 1 from {DATASET}.billing_milestone_invoices l
                where l.invoice_id = i.id and l.removed_at is null
            ) and i.status is distinct from 'deleted'
            order by i.id
            """
        return [row[0] for row in self._database.rows(sql)]

    def access_lost_by_project(self) -> dict[str | None, int]:
        """Milestones out of reach, by project."""
        sql = (
            f"select workspace_id, count(*) from {DATASET}.billing_milestones "
            "where access_lost_at is not null and deleted_at is null group by 1 order by 1"
        )
        return dict(self._database.rows(sql))

    def row_hashes(self, table: str, key: str) -> Iterator[pa.RecordBatch]:
        """Key and row_hash of every row."""
        if table in self.columns:
            sql = f'select "{key}", row_hash from {DATASET}."{table}"'
            yield from self._database.batches(sql)

    def open_rejects(self) -> list[dict[str, Any]]:
        """Rejected records that are not resolved."""
        columns = ("table_name", "id", "row_hash", "reason", "raw", "observed_at", "resolved_at")
        rows = self._database.rows(
            f"select {', '.join(columns)} from {DATASET}.rejected_records where resolved_at is null"
        )
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def last_values(
        self, table: str, key: str, ids: Sequence[str], columns: Sequence[str]
    ) -> pa.Table:
        """The rows of these ids: the key, then the columns; null where there is no such column."""
        existing = self.columns.get(table, {})
        selected = [key, *(column for column in columns if column in existing)]
        names = ", ".join(f'"{name}"' for name in selected)  # a field may be called order or group
        sql = f'select {names} from {DATASET}."{table}" where "{key}" in ({{}})'
        rows = self._rows_by_id(sql, ids) if existing else []
        values = {name: [row[n] for row in rows] for n, name in enumerate(selected)}
        nulls = [None] * len(rows)
        return pa.table({name: values.get(name, nulls) for name in (key, *columns)})

    def currency_units(self) -> dict[str, Decimal]:
        """The value of one subunit, by currency."""
        sql = f"select iso_code, unit_per_subunit from {DATASET}.currencies"
        return {code: Decimal(unit) for code, unit in self._database.rows(sql)}

    def _rows_by_id(self, sql: str, ids: Sequence[str]) -> list[tuple[Any, ...]]:
        """The rows of a query that has ``{}`` where ids belong."""
        return [
            row
            for chunk, marks in _chunks(ids)
            for row in self._database.rows(sql.format(marks), *chunk)
        ]


def _chunks(ids: Sequence[str]) -> Iterator[tuple[Sequence[str], str]]:
    """Ids, some at a time, and as many placeholders."""
    for start in range(0, len(ids), _IDS_PER_QUERY):
        chunk = ids[start : start + _IDS_PER_QUERY]
        yield chunk, ", ".join(["%s"] * len(chunk))
