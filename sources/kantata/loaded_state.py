"""The state of the raw tables in a database: keys, hashes, rejects and values, read by SQL."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import pyarrow as pa

from .schema import LARGE_TABLES, LOADED, columns_and_key

# Each milestone with its latest version and its links. Each table may have ids that another lacks,
# since dlt loads them one after another, and a crash may happen in between. With `distinct on`,
# DuckDB needed more than 256 MB for a million milestones; this query needs less than 100 MB.
_MILESTONE_HASHES = """
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
from (select * from {milestones} milestones where {m}) m
full join (
    select id, version, row_hash, change_type
    from {versions} versions
    join (
        select id, max(version) as version
        from {versions} versions
        where {v}
        group by id
    ) latest using (id, version)
    where {v}
) v using (id)
full join (
    select billing_milestone_id as id, string_agg(invoice_id, ',') as links
    from {links} links
    where removed_at is null and {l}
    group by billing_milestone_id
) l using (id)
"""
_LIVE = "deleted_at is null and access_lost_at is null"
_LOADS = "_dlt_loads"  # dlt's own table
_IDS_PER_QUERY = 1000
_T = TypeVar("_T")


_SQL_TYPES = {
    "text": "varchar",
    "bool": "boolean",
    "double": "double precision",
    "timestamp": "timestamptz",
    "decimal": "decimal(12,6)",
}


class Database(Protocol):
    """A connection to the database of the raw tables."""

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query; the values replace its ``%s``."""

    def batches(self, sql: str, *values: object) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query in bounded batches; the values replace its ``%s``."""

    def tables(self) -> Mapping[str, Mapping[str, str]]:
        """Return the columns of every table of the dataset: dlt types by table and column."""


class LoadedState:
    """The state of raw tables in DuckDB or Postgres, as ``WarehouseState`` defines it.

    A table that does not exist is empty, and a declared column that does not exist is null.

    Args:
        database: A connection, open as long as this object is used.
        dataset: The schema of the raw tables, quoted if it needs to be.
        naming: Gives the name by which dlt stores a table or a column, if it changes names.
        ignored: Tables not to read, since they are about to be emptied.
    """

    def __init__(
        self,
        database: Database,
        dataset: str = "kantata",
        *,
        naming: Callable[[str], str] | None = None,
        ignored: Collection[str] = (),
    ) -> None:
        self._database = database
        self._dataset = dataset
        self._stored_name = naming or str
        stored = {n: columns for n, columns in database.tables().items() if n not in ignored}
        self._stored_columns = self._by_our_names(stored, LOADED)
        self.columns = {
            table: self._by_our_names(columns, columns_and_key(table)[0])
            for table, columns in self._stored_columns.items()
        }

    def _by_our_names(self, stored: Mapping[str, _T], declared: Iterable[str]) -> dict[str, _T]:
        """Return what the database lists by stored names, by the names that the source gives."""
        ours = {self._stored_name(name): name for name in declared}
        lower = {name: name.lower() for name in stored}
        return {
            ours.get(n, lower[n] if self._stored_name(lower[n]) == n else n): listed
            for n, listed in stored.items()
        }

    def _table(self, name: str) -> str:
        """Return what to select from for a raw table: it, or a query that has all its columns."""
        columns, relation = self.columns.get(name), f'{self._dataset}."{self._stored_name(name)}"'
        declared = columns_and_key(name)[0]
        if columns is not None and all(
            c in columns and self._stored_name(c) == c for c in declared
        ):
            return relation
        existing = [f'"{self._stored_name(c)}" as "{c}"' for c in columns or ()]
        missing = [
            f'null::{_SQL_TYPES.get(kind.dlt_type, kind.dlt_type)} as "{c}"'
            for c, kind in declared.items()
            if c not in (columns or ())
        ]
        source = "where false" if columns is None else f"from {relation}"
        return f"(select {', '.join([*existing, *missing])} {source})"

    def milestone_hashes(self, ids: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
        """Yield the state of each milestone: id, row hash, last version, its hash, invoice ids.

        The row hash is ``deleted`` or ``lost`` for a milestone that is marked as deleted or access
        lost. The invoice ids are one text, separated by commas.

        Args:
            ids: The milestones; None for all.
        """
        if ids is None:
            yield from self._database.batches(self._milestone_hashes("true", "true"))
            return
        for chunk, marks in _chunks(ids):
            own, link = f"id in ({marks})", f"billing_milestone_id in ({marks})"
            sql = self._milestone_hashes(own, link)
            yield from self._database.batches(sql, *chunk, *chunk, *chunk, *chunk)

    def _milestone_hashes(self, own: str, link: str) -> str:
        """Return the query of the state of milestones, with a condition for each kind of table."""
        return _MILESTONE_HASHES.format(
            milestones=self._table("billing_milestones"),
            versions=self._table("billing_milestone_versions"),
            links=self._table("billing_milestone_invoices"),
            m=own,
            v=own,
            l=link,
        )

    def live_count(self) -> int:
        """Return the number of live milestones in the loaded state, also rejected ones."""
        sql = (
            "select count(*) from ("
            f"select id from {self._table('billing_milestones')} milestones where {_LIVE} "
            f"union select id from {self._table('rejected_records')} rejects "
            "where table_name = 'billing_milestones' and resolved_at is null) live"
        )
        return int(self._database.rows(sql)[0][0])

    def recent_ids(self, most: int) -> list[str]:
        """Return the ids of up to ``most`` live milestones in the state, those observed last."""
        sql = (
            f"select id from {self._table('billing_milestones')} milestones where {_LIVE} "
            f"order by observed_at desc limit {most:d}"
        )
        return [row[0] for row in self._database.rows(sql)]

    def raw_records(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the last record in the state of each of these milestones, by id, as JSON text."""
        sql = (
            f"select distinct on (id) id, raw from {self._table('billing_milestone_versions')} v "
            "where raw is not null and id in ({}) order by id, version desc"
        )
        return dict(self._rows_by_id(sql, ids))

    def milestones_on_invoices(self, invoice_ids: Sequence[str]) -> list[str]:
        """Return the ids of milestones in the loaded state that are on these invoices."""
        sql = (
            f"select billing_milestone_id from {self._table('billing_milestone_invoices')} links "
            "where removed_at is null and invoice_id in ({})"
        )
        return [row[0] for row in self._rows_by_id(sql, invoice_ids)]

    def draft_invoices(self) -> list[str]:
        """Return the ids of invoices in the loaded state that were drafts when last read."""
        sql = (
            f"select id from {self._table('invoices')} invoices "
            "where draft and status is distinct from 'deleted'"
        )
        return [row[0] for row in self._database.rows(sql)]

    def unlinked_invoices(self) -> list[str]:
        """Return the ids of invoices in the state whose last milestone was unlinked since read."""
        links = self._table("billing_milestone_invoices")
        sql = f"""
            select i.id from {self._table("invoices")} i
            where exists (
                select 1 from {links} l
                where l.invoice_id = i.id and l.removed_at >= i.observed_at
            ) and not exists (
                select 1 from {links} l
                where l.invoice_id = i.id and l.removed_at is null
            ) and i.status is distinct from 'deleted'
            order by i.id
            """
        return [row[0] for row in self._database.rows(sql)]

    def access_lost_by_project(self) -> dict[str | None, int]:
        """Return the number of milestones with access lost in the loaded state, by project."""
        sql = (
            f"select workspace_id, count(*) from {self._table('billing_milestones')} milestones "
            "where access_lost_at is not null and deleted_at is null group by 1 order by 1"
        )
        return dict(self._database.rows(sql))

    def row_hashes(self, table: str, key: str) -> Iterator[pa.RecordBatch]:
        """Yield the loaded state of a raw table: the key and row hash of every row."""
        if table in self.columns:
            sql = f'select "{key}", row_hash from {self._table(table)} stored'
            yield from self._database.batches(sql)

    def open_rejects(self) -> list[dict[str, Any]]:
        """Return the rejects in the loaded state: rows of ``rejected_records`` not resolved."""
        columns = ("table_name", "id", "row_hash", "reason", "raw", "observed_at", "resolved_at")
        rows = self._database.rows(
            f"select {', '.join(columns)} from {self._table('rejected_records')} rejects "
            "where resolved_at is null"
        )
        return [dict(zip(columns, row, strict=True)) for row in rows]

    def last_values(
        self, table: str, key: str, ids: Sequence[str], columns: Sequence[str]
    ) -> pa.Table:
        """Return rows of the state by key: key, then columns; null where a column is missing."""
        existing = self.columns.get(table, {})
        selected = [key, *(column for column in columns if column in existing)]
        names = ", ".join(
            f'"{name}"' for name in selected
        )  # quoted, since a field may be named order or group
        sql = f'select {names} from {self._table(table)} stored where "{key}" in ({{}})'
        rows = self._rows_by_id(sql, ids) if existing else []
        values = {name: [row[n] for row in rows] for n, name in enumerate(selected)}
        nulls = [None] * len(rows)
        return pa.table({name: values.get(name, nulls) for name in (key, *columns)})

    def has_load(self, load_id: str) -> bool:
        """Return whether dlt has loaded a package completely, as the dataset records it."""
        if _LOADS not in self.columns:
            return False
        sql = f"select 1 from {self._table(_LOADS)} loads where load_id = %s and status = 0"
        return bool(self._database.rows(sql, load_id))

    def empty_tables(self) -> frozenset[str]:
        """Return the large tables of which the dataset has no row."""
        return frozenset(
            table
            for table in LARGE_TABLES
            if table not in self.columns
            or not self._database.rows(f"select 1 from {self._table(table)} stored limit 1")
        )

    def has_versions(self) -> bool:
        """Return whether the dataset has any version of a milestone."""
        sql = f"select 1 from {self._table('billing_milestone_versions')} versions limit 1"
        return bool(self._database.rows(sql))

    def _rows_by_id(self, sql: str, ids: Sequence[str]) -> list[tuple[Any, ...]]:
        """Return the state's rows of a query for these ids; placeholders replace its ``{}``."""
        return [
            row
            for chunk, marks in _chunks(ids)
            for row in self._database.rows(sql.format(marks), *chunk)
        ]


def _chunks(ids: Sequence[str]) -> Iterator[tuple[Sequence[str], str]]:
    """Yield the ids of a query on the state in chunks, each with its placeholders for SQL."""
    for start in range(0, len(ids), _IDS_PER_QUERY):
        chunk = ids[start : start + _IDS_PER_QUERY]
        yield chunk, ", ".join(["%s"] * len(chunk))
