"""What is in the lake: for each table, the version that was written last, and from which content.

One row is that of ``published_runs``: the last run that the lake shows as a whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, field, fields, replace
from datetime import datetime
from typing import Any, Protocol

from warehouse.database import DATASET, Database

TABLE = "lake_copies"
PUBLISHED_RUNS = "published_runs"
DDL = f"""create table if not exists {DATASET}.{TABLE} (
    table_name text not null, url text not null, run_id text, copied_at timestamptz,
    row_count bigint, amounts text, digest text, delta_id text, version bigint, log_version bigint,
    vacuumed_at timestamptz, failing_since timestamptz, problem text)"""
_HAS_TABLE = (
    "select 1 from information_schema.tables "
    f"where table_schema = '{DATASET}' and table_name = '{TABLE}'"
)


class Queryable(Protocol):
    """A connection to a warehouse, or a reader of it."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query on the copies."""


@dataclass(frozen=True, kw_only=True)
class Copied:
    """A table in the lake, as it was written last.

    Args:
        table_name: Its schema and name in the warehouse, or ``published_runs``.
        url: The lake.
        run_id: The run it was written after; for ``published_runs``, the last published one.
        copied_at: When; by this machine's clock, UTC.
        row_count: The number of its rows.
        amounts: The sums of its amounts by currency, as JSON; None if it has none.
        digest: The digest of its content and types.
        delta_id: The id that Delta gave the table.
        version: The version that holds this content.
        log_version: The last version that this warehouse knows; a later one is another program's.
        vacuumed_at: Only for ``published_runs``: when unneeded files were last removed.
        failing_since: Only for ``published_runs``: when copying began to fail.
        problem: Only for ``published_runs``: why the last copy failed.
    """

    table_name: str
    url: str
    run_id: str | None = None
    copied_at: datetime | None = None
    row_count: int | None = None
    amounts: str | None = None
    digest: str | None = None
    delta_id: str | None = None
    version: int | None = None
    log_version: int | None = None
    vacuumed_at: datetime | None = None
    failing_since: datetime | None = None
    problem: str | None = None


_COLUMNS = tuple(f.name for f in fields(Copied))


@dataclass(frozen=True, kw_only=True)
class LakeState:
    """What a warehouse knows of its lake.

    Args:
        published: The last published run, and whether copying fails since.
        tables: The tables that were written, by name.
    """

    published: Copied
    tables: Mapping[str, Copied] = field(default_factory=dict)

    def with_table(self, copied: Copied) -> LakeState:
        """Return the state after a table was written."""
        return replace(self, tables={**self.tables, copied.table_name: copied})


def read_state(warehouse: Queryable, url: str) -> LakeState:
    """Return what a warehouse knows of the lake at a URL; nothing if it has another one."""
    found = {copied.table_name: copied for copied in _rows(warehouse) if copied.url == url}
    published = found.pop(PUBLISHED_RUNS, Copied(table_name=PUBLISHED_RUNS, url=url))
    return LakeState(published=published, tables=found)


def write_state(database: Database, state: LakeState) -> None:
    """Replace what a warehouse knows of its lake; the caller must hold the lock."""
    rows = [astuple(copied) for copied in (state.published, *state.tables.values())]
    with database.transaction():
        forget(database)
        database.insert(f"{DATASET}.{TABLE} ({', '.join(_COLUMNS)})", rows)


def forget(database: Database) -> None:
    """Remove what a warehouse knows of its lake, since it has none any more."""
    database.execute(f"delete from {DATASET}.{TABLE}")


def last_published(warehouse: Queryable) -> Copied | None:
    """Return the last published run of a warehouse's lake; None without a lake."""
    found: Iterable[Copied] = _rows(warehouse) if warehouse.rows(_HAS_TABLE) else ()
    return next((each for each in found if each.table_name == PUBLISHED_RUNS), None)


def _rows(warehouse: Queryable) -> list[Copied]:
    """Return the rows about the lake."""
    rows = warehouse.rows(f"select {', '.join(_COLUMNS)} from {DATASET}.{TABLE}")
    return [Copied(**dict(zip(_COLUMNS, row, strict=True))) for row in rows]
