"""Closed months in the ledger: added as a whole, never altered, reopened by a row of their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any

import sqlalchemy as sa

from warehouse.errors import LedgerDamaged
from warehouse.raw.period_closes import CloseKey

from . import schema
from .engine import ledger_damaged
from .period import (
    PeriodClose,
    Reopening,
    as_text,
    digest_of,
    figure_from_row,
    frozen_values,
    milestone_from_row,
)
from .store import Ledger

_ROWS_PER_INSERT = 1000


def close_keys(ledger: Ledger) -> list[CloseKey]:
    """Return what identifies each close of the ledger, in order."""
    closes, reopens = schema.period_closes, schema.period_reopens
    query = (
        sa.select(closes.c.close_number, closes.c.digest, reopens.c.reopened_at)
        .select_from(closes.outerjoin(reopens, reopens.c.close_number == closes.c.close_number))
        .order_by(closes.c.close_number)
    )
    with ledger.reading():
        rows = ledger.connection.execute(query).all()
    return [CloseKey(number, digest, at is not None) for number, digest, at in rows]


def read_closes(
    ledger: Ledger, numbers: Sequence[int] | None = None, *, headers_only: bool = False
) -> list[PeriodClose]:
    """Return closes of the ledger, in order.

    Args:
        ledger: The ledger.
        numbers: The numbers of those to read; None for all.
        headers_only: Whether to leave out the frozen rows, which may be many.

    Raises:
        LedgerDamaged: If a row has values that this program never writes.
    """
    with ledger.reading():
        found = _rows(ledger, schema.period_closes, numbers)
        reopens = {r["close_number"]: r for r in _rows(ledger, schema.period_reopens, numbers)}
        if headers_only:
            numbers = []  # of no frozen row
        figures = _by_number(_rows(ledger, schema.period_figures, numbers))
        milestones = _by_number(_rows(ledger, schema.period_milestones, numbers))
    try:
        return [
            close_from_rows(
                row, figures.get(row["close_number"], ()), milestones.get(row["close_number"], ()),
                reopens.get(row["close_number"]),
            )
            for row in found
        ]  # fmt: skip
    except (ValueError, TypeError, ArithmeticError) as error:
        raise ledger_damaged(f"a closed month has an invalid value: {error}") from None


def close_from_rows(
    row: Mapping[str, Any],
    figures: Sequence[Mapping[str, Any]],
    milestones: Sequence[Mapping[str, Any]],
    reopen: Mapping[str, Any] | None,
) -> PeriodClose:
    """Return the close in its rows of the ledger, or of its copy."""
    return PeriodClose(
        close_number=row["close_number"],
        month=_value(date.fromisoformat, row["month"]),
        closed_by=row["closed_by"],
        closed_at=_value(datetime.fromisoformat, row["closed_at"]),
        run_id=row["run_id"],
        observed_until=_value(datetime.fromisoformat, row["observed_until"]),
        reporting_timezone=row["reporting_timezone"],
        db_user=row["db_user"],
        figures=list(map(figure_from_row, figures)),
        milestones=list(map(milestone_from_row, milestones)),
        digest=row["digest"],
        reopening=_reopening(reopen) if reopen else None,
    )


def _reopening(row: Mapping[str, Any]) -> Reopening:
    """Return the reopening of a closed month in its row."""
    return Reopening(
        reopened_by=row["reopened_by"],
        reopened_at=_value(datetime.fromisoformat, row["reopened_at"]),
        reason=row["reason"],
        db_user=row["db_user"],
    )


def add_close(ledger: Ledger, close: PeriodClose) -> None:
    """Add a close to the ledger, in the open transaction, with the digest of what it freezes.

    Args:
        ledger: The ledger.
        close: The close. Its number and database user must be ``next_number`` and ``db_user``.
    """
    _insert(ledger, replace(close, digest=digest_of(close)))


def next_number(ledger: Ledger) -> int:
    """Return the number of the ledger's next close; call it in the transaction that adds it."""
    last = sa.select(sa.func.max(schema.period_closes.c.close_number))
    return int(ledger.connection.execute(last).scalar() or 0) + 1


def db_user(ledger: Ledger) -> str | None:
    """Return the database user who adds a close; None on SQLite."""
    if not ledger.is_postgres:
        return None
    return str(ledger.connection.execute(sa.text("select session_user")).scalar())


def add_reopening(ledger: Ledger, number: int, reopening: Reopening) -> None:
    """Record in the ledger that a closed month was reopened, in the open transaction."""
    values = {name: as_text(value) for name, value in vars(reopening).items()}
    ledger.connection.execute(
        schema.period_reopens.insert().values(values | {"close_number": number})
    )


def restore_closes(ledger: Ledger, closes: Sequence[PeriodClose]) -> None:
    """Add to the ledger, in the open transaction, the closes of a copy that it lacks.

    Raises:
        LedgerDamaged: If somebody altered the copy, or the ledger has others.
    """
    own = {key.close_number: key for key in close_keys(ledger)}
    for close in closes:
        number = close.close_number
        if not close.is_intact:
            raise LedgerDamaged(
                f"the copy of the closed month {close.month:%Y-%m} in the warehouse was altered. "
                "Nothing was restored. Restore the ledger from a backup"
            )
        if number not in own:
            _insert(ledger, close)
        elif own[number].digest != close.digest:
            raise LedgerDamaged(
                f"the ledger {ledger.name} has another close {number} than its copy, and it cannot "
                "be removed. Restore its database from a backup"
            )
        if close.reopening and not (number in own and own[number].is_reopened):
            add_reopening(ledger, number, close.reopening)


def close_problems(ledger: Ledger) -> list[str]:
    """Return what somebody altered in the closes of the ledger, a line each."""
    return [
        f"the closed month {close.month:%Y-%m}: its frozen rows are not those that were closed"
        for close in read_closes(ledger)
        if not close.is_intact
    ]


def _insert(ledger: Ledger, close: PeriodClose) -> None:
    """Insert the rows of a close into the ledger, as they are."""
    number = {"close_number": close.close_number}
    header = {
        column.name: as_text(getattr(close, column.name)) for column in schema.period_closes.columns
    }
    ledger.connection.execute(schema.period_closes.insert().values(header))
    figures = [
        number | {"row_number": place} | frozen_values(row)
        for place, row in enumerate(close.figures, 1)
    ]
    milestones = [number | frozen_values(row) for row in close.milestones]
    for table, rows in ((schema.period_figures, figures), (schema.period_milestones, milestones)):
        for start in range(0, len(rows), _ROWS_PER_INSERT):
            ledger.connection.execute(table.insert(), rows[start : start + _ROWS_PER_INSERT])


def _rows(
    ledger: Ledger, table: sa.Table, numbers: Sequence[int] | None
) -> list[Mapping[str, Any]]:
    """Return the rows of the ledger's closes in a table, in order of its key."""
    query = sa.select(table).order_by(*table.primary_key.columns)
    if numbers is not None:
        query = query.where(table.c.close_number.in_(list(numbers)))
    return [dict(row) for row in ledger.connection.execute(query).mappings()]


def _by_number(rows: Sequence[Mapping[str, Any]]) -> dict[int, list[Mapping[str, Any]]]:
    """Return frozen rows by the number of their close."""
    found: dict[int, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["close_number"], []).append(row)
    return found


def _value(parse: Callable[[str], Any], value: Any) -> Any:  # noqa: ANN401 - a database's value
    """Return a value of a close, which the ledger has as text, and its copy as it is."""
    return parse(value) if isinstance(value, str) else value
