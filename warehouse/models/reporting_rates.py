"""The exchange rates that a build needs: one for each currency and day that the marts convert at.

The rate of a day is the last one with a date up to that day. Python looks it up, as it computes the
calendar: a join of a million milestones with all rates would take longer than the rest of a build.
"""

from __future__ import annotations

from bisect import bisect_right
from calendar import monthrange
from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from decimal import Decimal
from typing import NamedTuple

from warehouse.database import DATASET, STAGING, Database, Reader
from warehouse.raw.exchange_rates import rates_into
from warehouse.words import counted

from .statistics import analyze

SAME_CURRENCY = "same currency"
_MOST_NAMED = 10
_OLDEST = timedelta(days=92)  # of the newest rate of a pair, before it is reported


class NeededRate(NamedTuple):
    """A row of ``rates``: the rate of a currency on a day, with its date and source."""

    currency: str
    day: date
    rate: Decimal
    rate_date: date
    rate_source: str


class NeededRates(NamedTuple):
    """The rates of a build, and a line that names missing or old ones; empty if none are."""

    rates: list[NeededRate]
    missing: str


def write_rates(database: Database, reporting_currency: str, as_of: date) -> str:
    """Write the rates of a build; return which are missing or old, as a line, empty if none are."""
    database.execute(f"delete from {STAGING}.rates")
    needed = needed_rates(database, reporting_currency, as_of)
    database.insert_many(f"{STAGING}.rates", NeededRate._fields, needed.rates)
    analyze(database, f"{STAGING}.rates")
    return needed.missing


def needed_rates(database: Reader, reporting_currency: str, as_of: date) -> NeededRates:
    """Return the rates of a build.

    Args:
        database: A connection.
        reporting_currency: The currency to convert to; empty for none.
        as_of: The day that the marts call today.
    """
    if not reporting_currency:
        return NeededRates([], "")
    known = rates_into(database, reporting_currency)
    found: list[NeededRate] = []
    missing: dict[str, list[date]] = {}
    for currency, day in sorted(_needed(database, as_of)):
        if currency == reporting_currency:
            found.append(NeededRate(currency, day, Decimal(1), day, SAME_CURRENCY))
        elif position := bisect_right(known.get(currency, []), day, key=lambda rate: rate[0]):
            rate_date, rate, source = known[currency][position - 1]
            found.append(NeededRate(currency, day, rate, rate_date, source))
        else:
            missing.setdefault(currency, []).append(day)
    used = {rate.currency for rate in found if rate.rate_source != SAME_CURRENCY}
    newest = {currency: known[currency][-1][0] for currency in sorted(used)}
    lines = (
        _missing_line(missing, known, reporting_currency),
        _old_line(newest, reporting_currency, as_of),
    )
    return NeededRates(found, ". ".join(filter(None, lines)))


def _needed(database: Reader, as_of: date) -> set[tuple[str, date]]:
    """Return the currencies and days at which the marts convert."""
    rows = database.rows(
        f"select distinct currency, date_to_invoice from {DATASET}.billing_milestones "
        "where deleted_at is null"
    )
    needed = {(currency, as_of) for currency, _ in rows}
    for currency, day in rows:
        if day is not None:
            needed |= {(currency, day), (currency, month_end(day))}
    return needed


def month_end(day: date) -> date:
    """Return the last day of a month, also of the last one that a date can have."""
    return day.replace(day=monthrange(day.year, day.month)[1])


def _missing_line(
    missing: Mapping[str, Sequence[date]],
    known: Mapping[str, Sequence[tuple[date, Decimal, str]]],
    target: str,
) -> str:
    """Return the line that names missing rates, by pair, with the first day that needs one.

    Later days do not change it, so that each pair is reported once.
    """
    if not missing:
        return ""
    pairs = []
    for currency, days in missing.items():
        rates = known.get(currency)
        when = f"before {rates[0][0]}" if rates else "of any date"
        pairs.append(f"{currency} to {target} {when} (needed from {days[0]})")
    more = len(pairs) - _MOST_NAMED
    rest = f" and {counted(more, 'more pair')}" if more > 0 else ""
    return (
        f"no exchange rate for {', '.join(pairs[:_MOST_NAMED])}{rest}: what it would convert is "
        "null in columns named *_reporting"
    )


def _old_line(newest: Mapping[str, date], target: str, as_of: date) -> str:
    """Return the line that names pairs whose newest rate is older than a quarter."""
    pairs = [
        f"{currency} to {target} ({day})"
        for currency, day in newest.items()
        if as_of - day > _OLDEST
    ]
    return f"no new exchange rate for three months: {', '.join(pairs)}" if pairs else ""
