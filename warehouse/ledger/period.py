"""A closed month: the figures that were frozen, and the digest over them. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any


@dataclass(frozen=True, kw_only=True)
class CloseFigure:
    """What was frozen of one client and currency. An amount is None if its minor unit is unknown.

    Args:
        client_id, client: The client; None for milestones without one.
        currency: ISO code.
        decimals: The digits after the point of amounts in this currency.
        opening, new, increased, decreased, invoiced, deleted, closing: As in ``backlog_bridge``.
        dated_milestones, dated: Milestones dated in the month: their number and amount.
        billed_milestones, billed: Milestones on issued or paid invoices dated in the month.
    """

    client_id: str | None
    client: str | None
    currency: str
    decimals: int
    opening: Decimal | None
    new: Decimal | None
    increased: Decimal | None
    decreased: Decimal | None
    invoiced: Decimal | None
    deleted: Decimal | None
    closing: Decimal | None
    dated_milestones: int
    dated: Decimal | None
    billed_milestones: int
    billed: Decimal | None


@dataclass(frozen=True, kw_only=True)
class CloseMilestone:
    """What was frozen of a milestone that is dated in the month, or on an invoice dated in it."""

    milestone_id: str
    client_id: str | None
    client: str | None
    currency: str
    amount_in_cents: int
    amount: Decimal | None
    date_to_invoice: date | None
    status: str
    invoice_id: str | None
    invoice_date: date | None
    invoice_state: str | None


@dataclass(frozen=True, kw_only=True)
class Reopening:
    """Who reopened a closed month, when and why.

    Args:
        reopened_by, reopened_at, reason: As a person gave them.
        db_user: The database user, on Postgres.
    """

    reopened_by: str
    reopened_at: datetime
    reason: str
    db_user: str | None = None


@dataclass(frozen=True, kw_only=True)
class PeriodClose:
    """A month as it was closed.

    Args:
        close_number: 1, 2, 3 … in order of closing.
        month: The first day of the month.
        closed_by: Who closed it.
        closed_at: When.
        run_id: The last validated run: the state that was frozen.
        observed_until: When the latest version in it was observed.
        reporting_timezone: The time zone in which the month began and ended.
        db_user: The database user, on Postgres.
        figures: The figures, by client and currency.
        milestones: The milestones by business date, by id.
        digest: The digest as it was stored; empty before it is stored.
        reopening: How it was reopened; None if the month is closed.
    """

    close_number: int
    month: date
    closed_by: str
    closed_at: datetime
    run_id: str
    observed_until: datetime | None
    reporting_timezone: str
    db_user: str | None
    figures: Sequence[CloseFigure]
    milestones: Sequence[CloseMilestone]
    digest: str = ""
    reopening: Reopening | None = field(default=None, compare=False)

    @property
    def is_intact(self) -> bool:
        """Whether the frozen rows are those that the digest was made of."""
        return self.digest == digest_of(self)


FIGURE_COLUMNS = tuple(each.name for each in fields(CloseFigure))
MILESTONE_COLUMNS = tuple(each.name for each in fields(CloseMilestone))
_MONEY_OF_FIGURE = (
    "opening", "new", "increased", "decreased", "invoiced", "deleted", "closing", "dated",
    "billed",
)  # fmt: skip
_COVERED = (
    "close_number", "month", "closed_by", "closed_at", "run_id", "observed_until",
    "reporting_timezone", "db_user",
)  # fmt: skip


def digest_of(close: PeriodClose) -> str:
    """Return the SHA-256 of all that was frozen of a month, in hexadecimal digits."""
    lines = [[as_text(getattr(close, name)) for name in _COVERED]]
    for rows in (close.figures, close.milestones):
        lines += sorted(([*frozen_values(row).values()] for row in rows), key=json.dumps)
    text = "\n".join(json.dumps(line, ensure_ascii=False) for line in lines)
    return hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()


def frozen_values(row: CloseFigure | CloseMilestone) -> dict[str, Any]:
    """Return the values of a frozen row as the digest covers them and the ledger stores them."""
    columns = FIGURE_COLUMNS if isinstance(row, CloseFigure) else MILESTONE_COLUMNS
    return {name: as_text(getattr(row, name)) for name in columns}


def figure_from_row(row: Mapping[str, Any]) -> CloseFigure:
    """Return the figure in a row of the ledger, or of its copy; further columns are ignored."""
    values = {name: row[name] for name in FIGURE_COLUMNS}
    for name in _MONEY_OF_FIGURE:
        values[name] = money(values[name])
    return CloseFigure(**values)


def milestone_from_row(row: Mapping[str, Any]) -> CloseMilestone:
    """Return the frozen milestone in a row of the ledger, or of its copy."""
    values = {name: row[name] for name in MILESTONE_COLUMNS}
    values["amount"] = money(values["amount"])
    for name in ("date_to_invoice", "invoice_date"):
        values[name] = day(values[name])
    return CloseMilestone(**values)


def as_text(value: Any) -> Any:  # noqa: ANN401 - a value of a frozen row
    """Return a frozen value without differences between databases: 1.50 and 1.5 are one amount."""
    if isinstance(value, Decimal):
        text = f"{value:f}"
        return (text.rstrip("0").rstrip(".") if "." in text else text) if value else "0"
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value.isoformat() if isinstance(value, date) else value


def money(value: Any) -> Decimal | None:  # noqa: ANN401 - a value of a database
    """Return an amount of a frozen row, which a database may return as text."""
    return None if value is None else Decimal(value)


def day(value: Any) -> date | None:  # noqa: ANN401 - a value of a database
    """Return a date of a frozen row, which a database may return as text."""
    return date.fromisoformat(value) if isinstance(value, str) else value
