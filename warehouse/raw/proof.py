"""Is what was read what the warehouse holds, to the subunit?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain

from warehouse.database import DATASET, Database

_SELECT_TOTALS = (
    f"select currency, count(*), sum(amount_in_cents) from {DATASET}.billing_milestones "
    "where deleted_at is null and access_lost_at is null"
)
_IDS_PER_QUERY = 1000
_NONE = (0, 0)

Totals = dict[str, tuple[int, int]]
"""Milestones and their sum in subunits, by currency."""


def live_totals(database: Database) -> Totals:
    """Totals of all milestones that are not marked as gone."""
    return _read_totals(database, f"{_SELECT_TOTALS} group by currency")


def compare_totals(
    database: Database,
    *,
    read: Mapping[str, tuple[int, int]],
    excluded_ids: Sequence[str],
    only_ids: Sequence[str] | None = None,
) -> list[str]:
    """Compare what was read with what the warehouse holds.

    Args:
        database: A connection.
        read: Totals of what was read and is good.
        excluded_ids: Ids the warehouse may hold and ``read`` leaves out.
        only_ids: The ids that were looked at; None for all there are.

    Returns:
        Each currency that differs, in words; nothing if all is proven.
    """
    loaded = _loaded_totals(database, excluded_ids, only_ids)
    return [
        f"{currency}: read {_totals_words(read, currency)}, the warehouse holds "
        f"{_totals_words(loaded, currency)}"
        for currency in sorted(loaded.keys() | read.keys())
        if loaded.get(currency, _NONE) != read.get(currency, _NONE)
    ]


def _loaded_totals(
    database: Database, excluded_ids: Sequence[str], only_ids: Sequence[str] | None
) -> Totals:
    """Totals of all milestones, or of some, less those that are left out."""
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
    count, total = totals.get(currency, _NONE)
    return f"{count} milestones of {total} subunits"


def _totals_of(database: Database, ids: Sequence[str]) -> list[Totals]:
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
    return {row[0]: (int(row[1]), int(row[2])) for row in database.rows(sql, *values)}
