"""The versions of milestones that syncs saw, and the backlog bridge from them, in plain Python."""

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
class Version:
    """One version of a milestone.

    Args:
        kind: created, updated, deleted or restored.
        record: As the API last showed it.
    """

    kind: str
    record: Record


class Histories:
    """Every version of every milestone, in the order in which syncs saw them."""

    def __init__(self) -> None:
        self.versions: dict[str, list[Version]] = defaultdict(list)

    def observe(self, account: Account) -> None:
        """Add a version of each milestone that changed since the last call."""
        for id_ in account.milestones:
            record = account.milestone(id_)
            versions = self.versions[id_]
            if not versions:
                versions.append(Version("created", record))
            elif versions[-1].record != record:
                versions.append(Version("updated", record))
        for id_ in self.versions.keys() - account.milestones.keys():
            if self.versions[id_][-1].kind != "deleted":
                self.versions[id_].append(Version("deleted", self.versions[id_][-1].record))


def due(record: Record) -> date | None:
    """The date of a milestone."""
    text = record["date_to_invoice"]
    return date.fromisoformat(text) if text else None


def moves(values: Iterable[object]) -> int:
    """How often the value changed."""
    return sum(a != b for a, b in itertools.pairwise(values))


@dataclass(frozen=True)
class Step:
    """The parts of a version that the bridge depends on.

    Args:
        at: The first day of the month in which it was observed.
        kind: created, updated, deleted or restored.
        currency: ISO code.
        subunits: The amount.
        dated: Whether it has a date.
        invoiced: Whether it is on an invoice.
        stock: Whether the first scan already saw it; when it was billed is then unknown.
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
        """The amount that counts, billed or not."""
        return self.subunits if self.dated or self.invoiced else 0

    @property
    def billed(self) -> int:
        """The amount on an invoice."""
        return self.subunits if self.invoiced else 0

    @property
    def open(self) -> int:
        """The amount in the backlog, until it is deleted."""
        return self.worth - self.billed


Key = tuple[date, str]


def bridge(lives: Iterable[Sequence[Step]]) -> dict[Key, dict[str, int]]:
    """The movements of the backlog by month and currency, in minor units."""
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
    """The rows of `backlog_bridge`, in minor units: each month up to today's, by currency.

    Months before the first movement have no row.
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


def step(version: Version, at: datetime, stock: bool) -> Step:
    """The step of a version; ``at`` is in the time zone that decides the month."""
    record = version.record
    return Step(
        at.date().replace(day=1),
        version.kind,
        record["currency"],
        record["amount_in_cents"],
        record["date_to_invoice"] is not None,
        record["invoice_id"] is not None,
        stock,
    )
