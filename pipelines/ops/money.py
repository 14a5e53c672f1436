"""Amounts of one currency in people's figures: their sums, their decimals, and as text. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from decimal import Decimal

from warehouse.mart_rows import ScheduleRow


def add(*amounts: Decimal | None) -> Decimal | None:
    """Return the sum of amounts of money in one currency; None if one is unknown."""
    known = [amount for amount in amounts if amount is not None]
    return sum(known, Decimal(0)) if len(known) == len(amounts) else None


def decimals_of(unit: Decimal | None, rows: Iterable[ScheduleRow]) -> int:
    """Return the digits that show each amount of a currency's schedule exactly.

    Args:
        unit: The value of the currency's minor unit; None if it is unknown.
        rows: The rows of the schedule in this currency.
    """
    amounts = [row.amount for row in rows if row.amount is not None]
    numbers = [*amounts, *([] if unit is None else [unit])]
    return max((-min(0, int(n.normalize().as_tuple().exponent)) for n in numbers), default=2)


def money_text(amount: Decimal, decimals: int) -> str:
    """Return an amount of money as people read it, in the decimals of its currency."""
    return f"{amount:,.{decimals}f}"


def exact_money(amount: Decimal | None, decimals: int) -> str | None:
    """Return an amount of money as text for JSON, whose numbers round; None if it is unknown."""
    return None if amount is None else f"{amount:.{decimals}f}"
