"""Is what was read what the warehouse holds, to the subunit?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal

from warehouse.database import DATASET, Database

_SUMS = (
    f"select currency, count(*), sum(amount_in_cents) from {DATASET}.billing_milestones "
    "where deleted_at is null and access_lost_at is null"
)
_IDS_AT_ONCE = 1000
_NOTHING = (0, 0)

Totals = dict[str, tuple[int, int]]
"""Milestones and their sum in subunits, by currency."""


def live_totals(database: Database) -> Totals:
    """Totals of all milestones that are not marked as gone."""
    return _totals(database, f"{_SUMS} group by currency")


def compare_totals(
    database: Database,
    read: Mapping[str, tuple[int, int]],
    apart: Sequence[str],
    among: Sequence[str] | None = None,
) -> list[str]:
    """Compare what was read with what the warehouse holds.

    Args:
        database: A connection.
        read: Totals of what was read and is good.
        apart: Ids the warehouse may hold and ``read`` leaves out.
        among: The ids that were looked at; None for all there are.

    Returns:
        Each currency that differs, in words; nothing if all is proven.
    """
    counts: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    held = [live_totals(database)] if among is None else _totals_of(database, among)
    signed = [
        *((1, totals) for totals in held),
        *((-1, totals) for totals in _totals_of(database, apart)),
    ]
    for sign, totals in signed:
        for currency, (count, total) in totals.items():
            counts[currency] += sign * count
            sums[currency] += sign * total
    found = {currency: (counts[currency], sums[currency]) for currency in counts}
    return [
        f"{currency}: read {_totals_words(read, currency)}, the warehouse holds "
        f"{_totals_words(found, currency)}"
        for currency in sorted(found.keys() | read.keys())
        if found.get(currency, _NOTHING) != read.get(currency, _NOTHING)
    ]


def _totals_words(totals: Mapping[str, tuple[int, int]], currency: str) -> str:
    count, total = totals.get(currency, _NOTHING)
    return f"{count} milestones of {total} subunits"


def _totals_of(database: Database, ids: Sequence[str]) -> list[Totals]:
    parts = []
    for start in range(0, len(ids), _IDS_AT_ONCE):
        chunk = ids[start : start + _IDS_AT_ONCE]
        marks = ", ".join(["%s"] * len(chunk))
        parts.append(_totals(database, f"{_SUMS} and id in ({marks}) group by currency", *chunk))
    return parts


def _totals(database: Database, sql: str, *values: object) -> Totals:
    return {row[0]: (int(row[1]), int(row[2])) for row in database.rows(sql, *values)}


def units(database: Database) -> dict[str, Decimal]:
    """The value of one subunit, by currency."""
    rows = database.rows(f"select iso_code, unit_per_subunit from {DATASET}.currencies")
    return {code: Decimal(unit) for code, unit in rows}
