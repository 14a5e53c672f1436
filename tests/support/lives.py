"""What each sync saw of each milestone, and what follows from it: without SQL, by plain loops."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from sources.kantata_sandbox import Account

Record = dict[str, Any]
MOVEMENTS = ("new", "increased", "decreased", "invoiced", "deleted")


@dataclass(frozen=True)
class Seen:
    """One version of a milestone.

    Args:
        kind: created, updated, deleted or restored.
        record: As the API showed it, the last time if it is deleted.
    """

    kind: str
    record: Record


class Lives:
    """Every version of every milestone, in the order they were seen."""

    def __init__(self) -> None:
        self.seen: dict[str, list[Seen]] = defaultdict(list)

    def look(self, account: Account) -> None:
        """Take down what differs from what was there last time."""
        for id_ in account.milestones:
            record = account.milestone(id_)
            versions = self.seen[id_]
            if not versions:
                versions.append(Seen("created", record))
            elif versions[-1].record != record:
                versions.append(Seen("updated", record))
        for id_ in self.seen.keys() - account.milestones.keys():
            if self.seen[id_][-1].kind != "deleted":
                self.seen[id_].append(Seen("deleted", self.seen[id_][-1].record))


def due(record: Record) -> date | None:
    """Its date."""
    text = record["date_to_invoice"]
    return date.fromisoformat(text) if text else None


def moves(values: Iterable[object]) -> int:
    """How often another value came."""
    return sum(a != b for a, b in itertools.pairwise(values))


@dataclass(frozen=True)
class Step:
    """What the bridge looks at in one version.

    Args:
        at: The first day of the month in which it was observed.
        kind: created, updated, deleted or restored.
        currency: ISO code.
        subunits: The amount.
        dated: Whether it has a date.
        invoiced: Whether it is on an invoice.
        stock: Whether it was there at the first scan: nobody knows when that was billed.
    """

    at: date
    kind: str
    currency: str
    subunits: int
    dated: bool
    invoiced: bool
    stock: bool = False

    @property
    def worth(self) -> int:
        """What it brings, billed or not."""
        return self.subunits if self.dated or self.invoiced else 0

    @property
    def billed(self) -> int:
        """What of it is on an invoice."""
        return self.subunits if self.invoiced else 0

    @property
    def open(self) -> int:
        """What it adds to the backlog while it lives."""
        return self.worth - self.billed


Key = tuple[date, str]


def bridge(lives: Iterable[Sequence[Step]]) -> dict[Key, dict[str, int]]:
    """The movements of the backlog by month and currency, in subunits."""
    found: dict[Key, dict[str, int]] = defaultdict(Counter)
    for life in lives:
        first = life[0]
        line = found[first.at, first.currency]
        line["new"] += first.open if first.stock else first.worth
        line["invoiced"] += 0 if first.stock else first.billed
        for before, now in itertools.pairwise(life):
            _moved(found, before, now)
    return found


def _moved(found: dict[Key, dict[str, int]], before: Step, now: Step) -> None:
    old, new = found[now.at, before.currency], found[now.at, now.currency]
    if now.kind == "deleted":
        old["deleted"] += before.open if before.kind != "deleted" else 0
        return
    if before.kind == "deleted":
        old["deleted"] -= before.open
    if before.currency == now.currency:
        _rose(new, now.worth - before.worth)
    else:
        _rose(old, -before.worth)
        _rose(new, now.worth)
    old["invoiced"] -= before.billed
    new["invoiced"] += now.billed


def _rose(line: dict[str, int], change: int) -> None:
    line["increased"] += max(change, 0)
    line["decreased"] += max(-change, 0)


def month_after(month: date) -> date:
    """The first day of the next month."""
    return date(month.year + month.month // 12, month.month % 12 + 1, 1)


def rows_of(movements: Mapping[Key, Mapping[str, int]], today: date) -> list[tuple[Any, ...]]:
    """What `backlog_bridge` must say, in subunits: each month up to today's, by currency.

    Months in which nothing moves before the first movement are those of no row.
    """
    rows: list[tuple[Any, ...]] = []
    for currency in sorted({currency for _, currency in movements}):
        months = [month for month, code in movements if code == currency]
        month, last, opening = min(months), max(*months, today.replace(day=1)), 0
        while month <= last:
            line = movements.get((month, currency), {})
            new, increased, decreased, invoiced, deleted = (line.get(n, 0) for n in MOVEMENTS)
            closing = opening + new + increased - decreased - invoiced - deleted
            moved = (new, increased, decreased, invoiced, deleted)
            rows.append((month, currency, opening, *moved, closing))
            month, opening = month_after(month), closing
    return rows


def step(seen: Seen, at: datetime, stock: bool) -> Step:
    """A version as the bridge looks at it; ``at`` is in the zone that cuts the months."""
    record = seen.record
    return Step(
        at.date().replace(day=1),
        seen.kind,
        record["currency"],
        record["amount_in_cents"],
        record["date_to_invoice"] is not None,
        record["invoice_id"] is not None,
        stock,
    )
