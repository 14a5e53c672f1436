"""States, days and ages of invoices and milestones, computed without SQL."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from sources.kantata_sandbox import Account
from tests.support.rates import UNITS

Record = dict[str, Any]


def today(account: Account) -> date:
    """The account's date."""
    return datetime.fromtimestamp(account.clock.now(), UTC).date()


def is_paid(invoice: Record) -> bool:
    """Whether an invoice is paid."""
    return invoice["status"] == "accepted payment" and not invoice["balance_in_cents"]


def state(invoice: Record) -> str:
    """The state of an invoice."""
    if invoice["status"] == "cancelled":
        return "cancelled"
    if invoice["draft"]:
        return "draft"
    return "paid" if is_paid(invoice) else "issued"


def days(one: str | None, other: str | None) -> int | None:
    """Days from one date to another."""
    return (date.fromisoformat(other) - date.fromisoformat(one)).days if one and other else None


def money(cents: int, currency: str) -> Decimal:
    """An amount in money."""
    return Decimal(cents) / UNITS[currency]


def age_of(late: int | None) -> str:
    """The age of an open invoice."""
    if late is None:
        return "no due date"
    named = ((0, "not due"), (30, "1-30 days"), (60, "31-60 days"), (90, "61-90 days"))
    return next((age for limit, age in named if late <= limit), "over 90 days")
