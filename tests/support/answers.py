"""The right answers to the questions of ANALYSTS.md, from the sandbox's records, without SQL."""

from __future__ import annotations

from collections import Counter
from datetime import date, datetime
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

from sources.kantata_sandbox import Account
from tests.support.histories import Histories, bridge, due, moves, rows_of, step

ZONE = ZoneInfo("Europe/Berlin")
Rows = list[tuple[Any, ...]]


class Truth:
    """Figures of the present, from the sandbox's records.

    Args:
        account: The account.
        today: The date that the marts use as today.
    """

    def __init__(self, account: Account, today: date) -> None:
        self.today = today
        self.account = account
        self.milestones = list(account.milestones.values())
        self.units = {
            c["iso_code"]: Decimal(1) / c["subunit_to_unit"] for c in account.currencies.values()
        }

    def amount(self, milestone: dict[str, Any]) -> Decimal:
        """The amount of a milestone in money."""
        return milestone["amount_in_cents"] * self.units[milestone["currency"]]

    def backlog(self) -> list[tuple[dict[str, Any], date]]:
        """Milestones with a date and without an invoice, each with its date."""
        found = [(m, due(m)) for m in self.milestones if not m["invoice_id"]]
        return [(m, day) for m, day in found if day]

    def next_quarter(self) -> Rows:
        """Question 1."""
        first = self.today.replace(month=(self.today.month - 1) // 3 * 3 + 1, day=1)
        begins, ends = months_later(first, 3), months_later(first, 6)
        found = [(m, day.replace(day=1)) for m, day in self.backlog() if begins <= day < ends]
        keys = sorted({(month, m["currency"]) for m, month in found})
        return [
            (
                *key,
                sum((month, m["currency"]) == key for m, month in found),
                sum(self.amount(m) for m, month in found if (month, m["currency"]) == key),
            )
            for key in keys
        ]

    def overdue(self) -> Rows:
        """Question 2."""
        found = [
            (m["id"], m["title"], self.project(m), m["currency"], self.amount(m), day,
             (self.today - day).days)
            for m, day in self.backlog() if day < self.today
        ]  # fmt: skip
        return sorted(found, key=lambda row: (-row[-1], row[0]))

    def unscheduled(self) -> Rows:
        """Question 4."""
        found = [m for m in self.milestones if not m["invoice_id"] and not m["date_to_invoice"]]
        return [
            (code, count, sum(self.amount(m) for m in found if m["currency"] == code))
            for code, count in sorted(Counter(m["currency"] for m in found).items())
        ]

    def by_project(self) -> Rows:
        """Question 5."""
        found: dict[tuple[str, str], list[Decimal]] = {}
        for m, day in self.backlog():
            line = found.setdefault((self.project(m), m["currency"]), [Decimal(0)] * 6)
            age = (self.today - day).days
            line[0] += self.amount(m)
            line[1 + sum(age > bound for bound in (-1, 30, 60, 90))] += self.amount(m)
        return sorted((*key, *line) for key, line in found.items())

    def project(self, milestone: dict[str, Any]) -> str:
        """The title of a milestone's project."""
        return str(self.account.workspaces[milestone["workspace_id"]]["title"])

    def schedule(self) -> Rows:
        """Question 7, for the present."""
        found: dict[tuple[date | None, str], list[Any]] = {}
        for m in self.milestones:
            if not m["invoice_id"]:
                day = due(m)
                line = found.setdefault((day and day.replace(day=1), m["currency"]), [0, Decimal()])
                line[0] += 1
                line[1] += self.amount(m)
        return [(*key, *line) for key, line in found.items()]


def months_later(first: date, months: int) -> date:
    """The first day of the month that is so many months later."""
    number = first.year * 12 + first.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)


class PastTruth:
    """Figures of the past, from what each sync saw.

    Args:
        histories: What each sync saw.
        truth: The account as it is now.
        stock: The milestones that the first sync saw.
        moments: When each version was observed, by id and version.
    """

    def __init__(
        self,
        histories: Histories,
        truth: Truth,
        stock: frozenset[str],
        moments: dict[tuple[str, int], datetime],
    ) -> None:
        self.histories = histories
        self.stock = stock
        self.truth = truth
        self.moments = moments

    def slipped(self) -> Rows:
        """Question 3."""
        found = []
        for id_, history in self.histories.versions.items():
            record, dates = history[-1].record, [due(version.record) for version in history]
            first, last = next(filter(None, dates), None), dates[-1]
            if history[-1].kind != "deleted" and first and last and not record["invoice_id"]:
                named = (id_, record["title"], self.truth.project(record), record["currency"])
                days = (last - first).days
                found.append((*named, first, last, days, moves(dates)))
        return sorted((row for row in found if row[6] > 30), key=lambda row: (-row[6], row[0]))

    def changed_since(self, monday: datetime) -> Rows:
        """Question 6."""
        found = []
        for id_, history in self.histories.versions.items():
            for number, (before, now) in enumerate(
                zip([None, *history], history, strict=False), start=1
            ):
                moment = self.moments[id_, number]
                if moment >= monday:
                    old, new = before.record if before else None, now.record
                    pairs = [
                        (old and old["amount_in_cents"], new["amount_in_cents"]),
                        (old and due(old), due(new)),
                        (old and old["invoice_id"], new["invoice_id"]),
                    ]
                    values = [value for pair in pairs for value in pair]
                    named = (moment, id_, new["title"], now.kind, new["currency"])
                    found.append((number, (*named, *values)))
        return [row for _, row in sorted(found, key=lambda f: (f[1][0], f[1][1], f[0]))]

    def bridge(self) -> Rows:
        """Question 8, which contains question 9."""
        movements = bridge(
            [
                step(version, self.moments[id_, number].astimezone(ZONE), id_ in self.stock)
                for number, version in enumerate(versions, start=1)
            ]
            for id_, versions in self.histories.versions.items()
        )
        return [
            (month, code, *(value * self.truth.units[code] for value in values))
            for month, code, *values in rows_of(movements, self.truth.today)
        ]
