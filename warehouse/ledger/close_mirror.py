"""The copy of the ledger's closed months in the warehouse: for SQL, and for a lost ledger."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from warehouse.database import DATASET, Database
from warehouse.raw.period_closes import (
    CLOSES,
    FIGURES,
    MILESTONES,
    REOPENS,
    TABLES,
    CloseKey,
    copied_keys,
)

from .closes import close_from_rows, read_closes
from .period import FIGURE_COLUMNS, MILESTONE_COLUMNS, PeriodClose
from .store import Ledger

_HEADER = (
    "close_number", "month", "closed_by", "closed_at", "run_id", "observed_until",
    "reporting_timezone", "digest", "db_user",
)  # fmt: skip
_REOPEN = ("reopened_by", "reopened_at", "reason", "db_user")


class Reader(Protocol):
    """A connection to a warehouse, to read the copy of the ledger's closes there."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""

    def records(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query as dictionaries, by column name."""


def read_copied_closes(warehouse: Reader) -> list[PeriodClose]:
    """Read the whole copy of the closes from the warehouse, in order."""
    if not copied_keys(warehouse):
        return []
    closes, figures, milestones, reopens = (
        _by_number(warehouse.records(f"select * from {DATASET}.{table} order by close_number"))
        for table in (CLOSES, FIGURES, MILESTONES, REOPENS)
    )
    return [
        close_from_rows(
            row,
            figures.get(number, ()),
            milestones.get(number, ()),
            next(iter(reopens.get(number, ())), None),
        )
        for number, (row, *_) in closes.items()
    ]


def copy_closes(database: Database, ledger: Ledger, own: Collection[CloseKey]) -> None:
    """Make the copy of the closes in the warehouse equal to the ledger, in one transaction.

    Args:
        database: A connection to the warehouse; its lock must be held.
        ledger: The ledger.
        own: What identifies its closes.
    """
    copied = copied_keys(database)
    stale = [key.close_number for key in copied if key not in own]
    missing = [key.close_number for key in own if key not in copied]
    if not stale and not missing:
        return
    with database.transaction():
        for number in {*stale, *missing}:
            for table in TABLES:
                database.execute(f"delete from {DATASET}.{table} where close_number = %s", number)
        for close in read_closes(ledger, missing):
            _insert(database, close)


def _insert(database: Database, close: PeriodClose) -> None:
    """Insert a close into its copy in the warehouse."""
    number = close.close_number
    header = [getattr(close, name) for name in _HEADER]
    database.insert(f"{DATASET}.{CLOSES} ({', '.join(_HEADER)})", [header])
    for table, names, rows in (
        (FIGURES, FIGURE_COLUMNS, close.figures),
        (MILESTONES, MILESTONE_COLUMNS, close.milestones),
        (REOPENS, _REOPEN, [close.reopening] if close.reopening else []),
    ):
        values = [[number, *(getattr(row, name) for name in names)] for row in rows]
        database.insert_many(f"{DATASET}.{table}", ("close_number", *names), values)


def _by_number(rows: list[dict[str, Any]]) -> dict[int, list[Mapping[str, Any]]]:
    """Return rows of the copy by the number of their close."""
    found: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["close_number"], []).append(row)
    return found
