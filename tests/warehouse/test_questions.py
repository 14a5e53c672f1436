"""The questions of ANALYSTS.md: their SQL gives what the sandbox's own records say."""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

from sources.kantata_sandbox import Account, Sandbox
from tests.conftest import Job
from tests.pipelines.test_incremental import open_ids
from warehouse import models

PAGE = (Path(__file__).parents[2] / "warehouse" / "ANALYSTS.md").read_text()
QUESTIONS = re.findall(r"### (\d+)\. [^\n]*\n[^#]*?```sql\n(.*?);\n```", PAGE, re.DOTALL)
SQL = {int(number): sql for number, sql in QUESTIONS}
Rows = list[tuple[Any, ...]]


class Truth:
    """Figures from the sandbox's records, without SQL.

    Args:
        account: The account.
        today: The day the marts call today.
    """

    def __init__(self, account: Account, today: date) -> None:
        self.today = today
        self.account = account
        self.held = list(account.milestones.values())
        self.units = {
            c["iso_code"]: Decimal(1) / c["subunit_to_unit"] for c in account.currencies.values()
        }

    def amount(self, milestone: dict[str, Any]) -> Decimal:
        """Its amount in money."""
        return milestone["amount_in_cents"] * self.units[milestone["currency"]]

    def due(self, milestone: dict[str, Any]) -> date | None:
        """Its date."""
        text = milestone["date_to_invoice"]
        return date.fromisoformat(text) if text else None

    def backlog(self) -> list[tuple[dict[str, Any], date]]:
        """What has a date and no invoice."""
        found = [(m, self.due(m)) for m in self.held if not m["invoice_id"]]
        return [(m, due) for m, due in found if due]

    def next_quarter(self) -> Rows:
        """Question 1."""
        first = self.today.replace(month=(self.today.month - 1) // 3 * 3 + 1, day=1)
        begins, ends = months_later(first, 3), months_later(first, 6)
        found = [(m, due.replace(day=1)) for m, due in self.backlog() if begins <= due < ends]
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
            (m["id"], m["title"], self.project(m), m["currency"], self.amount(m), due,
             (self.today - due).days)
            for m, due in self.backlog() if due < self.today
        ]  # fmt: skip
        return sorted(found, key=lambda row: (-row[-1], row[0]))

    def unscheduled(self) -> Rows:
        """Question 4."""
        found = [m for m in self.held if not m["invoice_id"] and not m["date_to_invoice"]]
        return [
            (code, count, sum(self.amount(m) for m in found if m["currency"] == code))
            for code, count in sorted(Counter(m["currency"] for m in found).items())
        ]

    def by_project(self) -> Rows:
        """Question 5."""
        found: dict[tuple[str, str], list[Decimal]] = {}
        for m, due in self.backlog():
            line = found.setdefault((self.project(m), m["currency"]), [Decimal(0)] * 6)
            age = (self.today - due).days
            line[0] += self.amount(m)
            line[1 + sum(age > bound for bound in (-1, 30, 60, 90))] += self.amount(m)
        return sorted((*key, *line) for key, line in found.items())

    def project(self, milestone: dict[str, Any]) -> str:
        """Its project's title."""
        return str(self.account.workspaces[milestone["workspace_id"]]["title"])

    def schedule(self) -> Rows:
        """Question 7, for now."""
        found: dict[tuple[date | None, str], list[Any]] = {}
        for m in self.held:
            if not m["invoice_id"]:
                due = self.due(m)
                line = found.setdefault((due and due.replace(day=1), m["currency"]), [0, Decimal()])
                line[0] += 1
                line[1] += self.amount(m)
        return [(*key, *line) for key, line in found.items()]


def months_later(first: date, months: int) -> date:
    """The first day of a month."""
    number = first.year * 12 + first.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)


def unordered(rows: Rows) -> set[tuple[Any, ...]]:
    """Rows whose order collations decide."""
    assert len(set(rows)) == len(rows)
    return set(rows)


def test_questions(job: Job) -> None:
    """All ten give what the account's own records give, after edits, deletes and invoices."""
    assert sorted(SQL) == list(range(1, 11))
    with Sandbox(milestones=400) as sandbox:
        account = sandbox.account
        job.sync(sandbox)
        today = job.rows("select as_of from kantata_marts.data_freshness")[0][0]
        earlier = Truth(account, today).schedule()
        between = job.rows("select max(valid_from) from kantata_marts.billing_milestone_history")
        moment = (between[0][0] + timedelta(milliseconds=1)).astimezone(UTC)
        dated = [i for i in open_ids(account) if account.milestones[i]["date_to_invoice"]]
        slipped, raised, billed, gone, soon, *_ = dated
        due = date.fromisoformat(account.milestones[slipped]["date_to_invoice"])
        account.update_milestone(slipped, date_to_invoice=(due + timedelta(days=31)).isoformat())
        account.update_milestone(raised, amount_in_cents=123_456_789)
        account.update_milestone(
            soon, date_to_invoice=months_later(today.replace(day=1), 4).isoformat()
        )
        account.update_milestone(dated[5], date_to_invoice=None)
        account.invoice_milestone(billed)
        account.delete_milestone(gone)
        before = account.milestones[slipped]
        assert job.sync(sandbox, full=False).exit_code == 0
        truth = Truth(account, today)
        assert job.rows(SQL[1]) == truth.next_quarter()
        assert unordered(job.rows(SQL[2])) == unordered(truth.overdue())
        slips = job.rows(SQL[3])
        assert (slipped, 31, 1) in {(row[0], row[6], row[7]) for row in slips}
        assert {row[0] for row in slips} <= {slipped, soon}
        assert job.rows(SQL[4]) == truth.unscheduled()
        assert unordered(job.rows(SQL[5])) == unordered(truth.by_project())
        changed = [row for row in job.rows(SQL[6]) if row[3] != "created"]
        told = {row[1]: row[3:] for row in changed}
        assert set(told) == {slipped, raised, billed, gone, soon, dated[5]}
        assert told[gone][0] == "deleted"
        assert told[slipped][4:6] == (due, date.fromisoformat(before["date_to_invoice"]))
        assert told[billed][6] is None
        assert told[billed][7] == account.milestones[billed]["invoice_id"]
        assert job.rows(SQL[7]) == []
        for wall_time, schedule in ((moment, earlier), (datetime.now(UTC), truth.schedule())):
            then = SQL[7].replace("2026-03-01 00:00:00", f"{wall_time:%Y-%m-%d %H:%M:%S.%f}")
            assert unordered(job.rows(then)) == unordered(schedule)
        closings = {row[1]: row[8] for row in job.rows(SQL[8])}
        ends: Counter[str] = Counter()
        for milestone, _ in truth.backlog():
            ends[milestone["currency"]] += truth.amount(milestone)
        assert closings == dict(ends)
        milestone = account.milestones[billed]
        assert [row[1:] for row in job.rows(SQL[9])] == [
            (milestone["currency"], truth.amount(milestone))
        ]
        as_of, read_up_to, scanned_at, status, milestones, *wrong = job.rows(SQL[10])[0]
        assert (as_of, status, milestones, wrong) == (today, "proven", 399, [0, 0])
        assert isinstance(read_up_to, datetime)
        assert isinstance(scanned_at, datetime)


def test_dictionary_is_that_of_the_models() -> None:
    """The page's data dictionary is what the SQL files say."""
    assert PAGE.partition("## Data dictionary\n\n")[2] == models.dictionary()
