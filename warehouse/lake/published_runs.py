"""``published_runs``: which version of each table belongs to which run, in one commit per run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import astuple, dataclass, fields
from datetime import datetime, timedelta

import pyarrow as pa

from warehouse.raw.lake_copies import PUBLISHED_RUNS

from .delta import DeltaStore, Opened
from .failures import LakeFailure

_COMMENTS = {
    "run_id": "The run; the last one is max(run_id).",
    "table_name": "The table: its schema and name.",
    "version": "The version of the Delta table that shows this run.",
    "rows": "The number of rows in this version.",
    "amount_by_currency": "The sums of amount, or else of amount_in_cents, as JSON; null if the "
    "table has neither.",
    "published_at": "When the copy was completed.",
    "account": "The Kantata account that the warehouse is filled from.",
}
_SCHEMA = pa.schema(
    [
        pa.field(name, kind, metadata={"comment": _COMMENTS[name]})
        for name, kind in (
            ("run_id", pa.string()),
            ("table_name", pa.string()),
            ("version", pa.int64()),
            ("rows", pa.int64()),
            ("amount_by_currency", pa.string()),
            ("published_at", pa.timestamp("us", "UTC")),
            ("account", pa.string()),
        )
    ]
)


@dataclass(frozen=True, kw_only=True)
class PublishedTable:
    """A row of ``published_runs``: a table at the version that belongs to a run.

    Args:
        run_id: The run.
        table_name: The table.
        version: Its version.
        rows: The number of rows in it.
        amount_by_currency: The sums of its amounts by currency, as JSON; None if it has none.
        published_at: When the copy was completed, UTC.
        account: The Kantata account of the warehouse.
    """

    run_id: str
    table_name: str
    version: int
    rows: int
    amount_by_currency: str | None
    published_at: datetime
    account: str | None


_NAMES = [f.name for f in fields(PublishedTable)]


def read_published(store: DeltaStore, opened: Opened | None) -> list[PublishedTable]:
    """Return the rows of ``published_runs``; none if nothing was published yet.

    Raises:
        LakeFailure: If it cannot be read, or is a table of others.
    """
    if opened is None:
        return []
    rows = store.rows(opened)
    if not opened.is_ours or not set(_NAMES) <= set(rows.column_names):
        raise LakeFailure(
            f"{store.address(PUBLISHED_RUNS)} is a table of another program: set LAKE__URL to "
            "another folder"
        )
    return [PublishedTable(**row) for row in rows.select(_NAMES).to_pylist()]


def write_published(
    store: DeltaStore, opened: Opened | None, rows: Iterable[PublishedTable], run_id: str
) -> Opened:
    """Replace ``published_runs`` in one commit.

    Raises:
        LakeFailure: If it failed, or another warehouse published meanwhile.
    """
    values = [dict(zip(_NAMES, astuple(row), strict=True)) for row in rows]
    table = pa.Table.from_pylist(values, schema=_SCHEMA)
    return store.overwrite(PUBLISHED_RUNS, opened, table.to_reader(), run_id)


def still_readable(
    rows: Iterable[PublishedTable], *, now: datetime, keep: timedelta
) -> list[PublishedTable]:
    """Return the rows of earlier runs that must remain readable once a new run is published.

    A run remains so until a later one has been published for a while: a program that began to
    read it just before can finish.

    Args:
        rows: What is published.
        now: When the new run is published.
        keep: For how long.
    """
    earlier = list(rows)
    replaced_at = _replaced_at({row.run_id: row.published_at for row in earlier}, now)
    return [row for row in earlier if replaced_at[row.run_id] > now - keep]


def _replaced_at(published_at: Mapping[str, datetime], now: datetime) -> dict[str, datetime]:
    """Return when each published run was replaced by the next one: the last one now."""
    runs = sorted(published_at)
    following = [*(published_at[run] for run in runs[1:]), now]
    return dict(zip(runs, following, strict=False))  # none follows none
