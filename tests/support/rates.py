"""Exchange rates of an account, and amounts at them, computed with exact decimals."""

from __future__ import annotations

from collections import defaultdict
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

from sources.kantata_sandbox import Account

UNITS = {"USD": 100, "EUR": 100, "JPY": 1, "KWD": 1000, "MGA": 5}
Rates = dict[str, list[tuple[date, Decimal, str]]]


def account_rates(account: Account, target: str) -> Rates:
    """The account's rates to a currency, by source, in the order of their dates."""
    found: Rates = defaultdict(list)
    for rate in account.exchange_rates.values():
        if rate["target_currency"] == target:
            day = date.fromisoformat(rate["effective_date"])
            found[rate["source_currency"]].append((day, Decimal(rate["rate"]), "kantata"))
    return {currency: sorted(rates) for currency, rates in found.items()}


def rounded(exact: Decimal, target: str) -> Decimal:
    """An amount in whole minor units, half away from zero."""
    whole = (exact * UNITS[target]).quantize(Decimal(1), ROUND_HALF_UP)
    return whole / UNITS[target]


def converted(record: dict[str, Any], day: date | None, target: str, rates: Rates) -> list[Any]:
    """What the mart shows of a milestone at the rate of a day."""
    currency = record["currency"]
    if day is None:
        return [None] * 5
    if currency == target:
        rate = (day, Decimal(1), "same currency")
    else:
        known = [rate for rate in rates.get(currency, []) if rate[0] <= day]
        if not known:
            return [None] * 5
        rate = known[-1]
    exact = Decimal(record["amount_in_cents"]) / UNITS[currency] * rate[1]
    return [rounded(exact, target), exact, rate[1], rate[0], rate[2]]
