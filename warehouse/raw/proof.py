"""Reconciliation: whether the totals loaded equal those read, to the minor unit."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

from warehouse.database import DATASET, Database
from warehouse.words import counted

_SELECT_TOTALS = (
    f"select currency, count(*), sum(amount_in_cents) from {DATASET}.billing_milestones "
    "where deleted_at is null and access_lost_at is null"
)
_IDS_PER_QUERY = 1000
_NONE = (0, 0)

Totals = dict[str, tuple[int, int]]
"""The number of milestones and their sum in minor units, by currency."""


def live_totals(database: Database) -> Totals:
    """Return the totals for the proof: of all milestones neither deleted nor access lost."""
    return _read_totals(database, f"{_SELECT_TOTALS} group by currency")


def compare_totals(
    database: Database,
    *,
    read: Mapping[str, tuple[int, int]],
    excluded_ids: Sequence[str],
    only_ids: Sequence[str] | None = None,
) -> list[str]:
    """Compare, as proof of a load, the totals that were read with those in the warehouse.

    Args:
        database: A connection.
        read: The totals of the milestones that were read and not rejected.
        excluded_ids: Milestones that are not part of ``read`` and may be in the warehouse.
        only_ids: The milestones that were read; None for all.

    Returns:
        A line for each currency that differs; none if all totals are equal.
    """
    loaded = _loaded_totals(database, excluded_ids, only_ids)
    return [
        f"{currency}: read {_totals_words(read, currency)}, the warehouse has "
        f"{_totals_words(loaded, currency)}"
        for currency in sorted(loaded.keys() | read.keys())
        if loaded.get(currency, _NONE) != read.get(currency, _NONE)
    ]


def _loaded_totals(
    database: Database, excluded_ids: Sequence[str], only_ids: Sequence[str] | None
) -> Totals:
    """Return the loaded totals for the proof, of all milestones or some, without excluded ones."""
    added = [live_totals(database)] if only_ids is None else _totals_of(database, only_ids)
    subtracted = _totals_of(database, excluded_ids)
    counts: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for sign, parts in ((1, added), (-1, subtracted)):
        for currency, (count, total) in chain.from_iterable(part.items() for part in parts):
            counts[currency] += sign * count
            sums[currency] += sign * total
    return {currency: (counts[currency], sums[currency]) for currency in counts}


def _totals_words(totals: Mapping[str, tuple[int, int]], currency: str) -> str:
    """Return a currency's totals as text, for a difference that the proof finds."""
    count, total = totals.get(currency, _NONE)
    return f"{counted(count, 'milestone')} with {counted(total, 'minor unit')}"


def _totals_of(database: Database, ids: Sequence[str]) -> list[Totals]:
    """Return the totals of these milestones for the proof, in parts: one for each query."""
    parts = []
    for start in range(0, len(ids), _IDS_PER_QUERY):
        chunk = ids[start : start + _IDS_PER_QUERY]
        marks = ", ".join(["%s"] * len(chunk))
        parts.append(
            _read_totals(
                database, f"{_SELECT_TOTALS} and id in ({marks}) group by currency", *chunk
            )
        )
    return parts


def _read_totals(database: Database, sql: str, *values: object) -> Totals:
    """Return the totals by currency that a query reads for the proof."""
    return {row[0]: (int(row[1]), int(row[2])) for row in database.rows(sql, *values)}
