"""The questions of ANALYSTS.md: their SQL gives what the sandbox's own records say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import duckdb
import psycopg2
import pytest

from pipelines.models import rebuild
from sources.kantata_sandbox import Account, Sandbox
from tests.conftest import Job
from tests.pipelines.test_incremental import open_ids
from tests.warehouse.lives import Lives, bridge, due, moves, rows_of, step
from warehouse import models

PAGE = (Path(__file__).parents[2] / "warehouse" / "ANALYSTS.md").read_text()
QUESTIONS = re.findall(r"### (\d+)\. [^\n]*\n[^#]*?```sql\n(.*?);\n```", PAGE, re.DOTALL)
SQL = {int(number): sql for number, sql in QUESTIONS}
ZONE = ZoneInfo("Europe/Berlin")
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

    def backlog(self) -> list[tuple[dict[str, Any], date]]:
        """What has a date and no invoice."""
        found = [(m, due(m)) for m in self.held if not m["invoice_id"]]
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
        found = [m for m in self.held if not m["invoice_id"] and not m["date_to_invoice"]]
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
        """Its project's title."""
        return str(self.account.workspaces[milestone["workspace_id"]]["title"])

    def schedule(self) -> Rows:
        """Question 7, for now."""
        found: dict[tuple[date | None, str], list[Any]] = {}
        for m in self.held:
            if not m["invoice_id"]:
                day = due(m)
                line = found.setdefault((day and day.replace(day=1), m["currency"]), [0, Decimal()])
                line[0] += 1
                line[1] += self.amount(m)
        return [(*key, *line) for key, line in found.items()]


def months_later(first: date, months: int) -> date:
    """The first day of a month."""
    number = first.year * 12 + first.month - 1 + months
    return date(number // 12, number % 12 + 1, 1)


def unordered(rows: Rows) -> Counter[tuple[Any, ...]]:
    """Rows whose order collations decide."""
    return Counter(rows)


class Told:
    """What the questions about the past must be answered, from what each sync saw.

    Args:
        lives: What each sync saw.
        truth: The account as it is.
        stock: The milestones that the first sync saw.
        moments: When each version was observed, by id and version.
    """

    def __init__(
        self,
        lives: Lives,
        truth: Truth,
        stock: frozenset[str],
        moments: dict[tuple[str, int], datetime],
    ) -> None:
        self.lives = lives
        self.stock = stock
        self.truth = truth
        self.moments = moments

    def slipped(self) -> Rows:
        """Question 3."""
        found = []
        for id_, seen in self.lives.seen.items():
            record, dates = seen[-1].record, [due(version.record) for version in seen]
            first, last = next(filter(None, dates), None), dates[-1]
            if seen[-1].kind != "deleted" and first and last and not record["invoice_id"]:
                named = (id_, record["title"], self.truth.project(record), record["currency"])
                days = (last - first).days
                found.append((*named, first, last, days, moves(dates)))
        return sorted((row for row in found if row[6] > 30), key=lambda row: (-row[6], row[0]))

    def changed_since(self, monday: datetime) -> Rows:
        """Question 6."""
        found = []
        for id_, seen in self.lives.seen.items():
            for number, (before, now) in enumerate(zip([None, *seen], seen, strict=False), start=1):
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
        """Question 8; question 9 is a part of it."""
        movements = bridge(
            [
                step(seen, self.moments[id_, number].astimezone(ZONE), id_ in self.stock)
                for number, seen in enumerate(versions, start=1)
            ]
            for id_, versions in self.lives.seen.items()
        )
        return [
            (month, code, *(value * self.truth.units[code] for value in values))
            for month, code, *values in rows_of(movements, self.truth.today)
        ]


Ask = Callable[[str], Rows]


@contextmanager
def analyst(job: Job, zone: str) -> Iterator[Ask]:
    """Someone who may read the marts and no more, whose session is in a zone of its own."""
    if job.name == "duckdb":
        with duckdb.connect(str(job.place.published), read_only=True) as connection:
            connection.execute(f"set timezone = '{zone}'")
            yield lambda sql: connection.execute(sql).fetchall()
        return
    session = psycopg2.connect(job.url)
    with session.cursor() as cursor:
        cursor.execute("set role milestones_reader")
        cursor.execute(f"set time zone '{zone}'")

        def ask(sql: str) -> Rows:
            cursor.execute(sql)
            return list(cursor.fetchall())

        yield ask
    session.close()


def at_moment(sql: str, moment: datetime) -> str:
    """Question 7 for another time than that of the page, which is one of `ZONE`."""
    local = moment.astimezone(ZONE).replace(tzinfo=None)
    asked, count = re.subn(r"'20\d\d-03-01 00:00:00'", f"'{local}'", sql)
    with_zone, more = re.subn(r"'20\d\d-03-01 00:00:00\+00'", f"'{moment}'", asked)
    assert count + more > 0
    return with_zone


def a_week_of_work(account: Account) -> Iterator[None]:
    """What people do between syncs: edits, deletes, and invoices of every kind."""
    dated = [i for i in open_ids(account) if account.milestones[i]["date_to_invoice"]]
    slipped, raised, billed, gone, soon, undated, twice, both, *_ = dated
    today = datetime.now(UTC).date()
    day = date.fromisoformat(account.milestones[slipped]["date_to_invoice"])
    account.update_milestone(slipped, date_to_invoice=(day + timedelta(days=31)).isoformat())
    account.update_milestone(raised, amount_in_cents=123_456_789)
    coming = months_later(today.replace(day=1), 4)
    account.update_milestone(soon, date_to_invoice=coming.isoformat())
    account.update_milestone(undated, date_to_invoice=None)
    account.update_milestone(both, amount_in_cents=account.milestones[both]["amount_in_cents"] + 9)
    account.invoice_milestone(both)
    account.invoice_milestone(billed)
    first_invoice = account.invoice_milestone(twice)
    account.delete_milestone(gone)
    yield
    account.cancel_invoice(first_invoice)
    account.update_milestone(slipped, title="slipped")
    yield
    account.invoice_milestone(twice)
    account.invoice_milestone(
        account.create_milestone(title="created and invoiced", date_to_invoice=str(today))
    )
    account.create_milestone(title="new", date_to_invoice=coming.isoformat())
    yield


def observed_earlier(job: Job, days: int) -> None:
    """Let every second milestone have been observed so many days before."""
    ids = sorted(row[0] for row in job.rows("select id from kantata.billing_milestone_versions"))
    listed = ", ".join(f"'{id_}'" for id_ in ids[::2])
    job.run(
        "update kantata.billing_milestone_versions set observed_at = observed_at - "
        f"interval '{days} days' where id in ({listed})"
    )


def test_questions(
    job: Job, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All ten give what the account's own records give, whichever zone the session is in.

    On Postgres the loader has no more rights than roles.sql gives it, and the reader neither.
    """
    assert sorted(SQL) == list(range(1, 11))
    monkeypatch.setenv("WAREHOUSE__REPORTING_TIMEZONE", ZONE.key)
    if job.name == "postgres":
        loader = request.getfixturevalue("roles")
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", loader)
    lives = Lives()
    with Sandbox(milestones=400) as sandbox:
        account = sandbox.account
        job.sync(sandbox)
        lives.look(account)
        stock = frozenset(lives.seen)
        observed_earlier(job, days=8)
        earlier, between = Truth(account, datetime.now(UTC).date()).schedule(), datetime.now(UTC)
        for _ in a_week_of_work(account):
            assert job.sync(sandbox, full=False).exit_code == 0
            lives.look(account)
        rebuild(job.place)
    today = job.rows("select as_of from kantata_marts.data_freshness")[0][0]
    monday = datetime.combine(today - timedelta(days=today.weekday()), time(), ZONE)
    truth = Truth(account, today)
    told = Told(lives, truth, stock, moments(job))
    for zone in ("Pacific/Auckland", "America/Los_Angeles"):
        with analyst(job, zone) as ask:
            assert_answers(ask, truth, told, monday)
            assert unordered(ask(at_moment(SQL[7], datetime.now(UTC)))) == unordered(
                truth.schedule()
            )
            assert unordered(ask(at_moment(SQL[7], between))) == unordered(earlier)
            assert ask(at_moment(SQL[7], datetime(2020, 1, 1, tzinfo=UTC))) == []


def moments(job: Job) -> dict[tuple[str, int], datetime]:
    """When each version was observed."""
    return {
        (id_, version): moment
        for id_, version, moment in job.rows(
            "select id, version, observed_at from kantata.billing_milestone_versions"
        )
    }


def assert_answers(ask: Ask, truth: Truth, told: Told, monday: datetime) -> None:
    """All questions but the seventh."""
    assert ask(SQL[1]) == truth.next_quarter()
    assert ask(SQL[2]) == truth.overdue()
    assert ask(SQL[3]) == told.slipped()
    assert ask(SQL[4]) == truth.unscheduled()
    assert unordered(ask(SQL[5])) == unordered(truth.by_project())
    changes = told.changed_since(monday)
    assert {row[3] for row in changes} == {"created", "updated", "deleted"}
    assert len(changes) < len(told.moments)
    assert ask(SQL[6]) == changes
    assert ask(SQL[8]) == told.bridge()
    invoiced = [(row[0], row[1], row[6]) for row in told.bridge() if row[6]]
    assert invoiced
    assert [(row[0], row[1], row[-1]) for row in ask(SQL[9])] == sorted(invoiced)
    as_of, read_up_to, scanned_at, status, milestones, *wrong = ask(SQL[10])[0]
    live = len(truth.account.milestones)
    assert (as_of, status, milestones, wrong) == (truth.today, "proven", live, [0, 0])
    assert abs(read_up_to - datetime.now(UTC)) < timedelta(minutes=5)
    assert abs(scanned_at - datetime.now(UTC)) < timedelta(minutes=5)


def test_dictionary_is_that_of_the_models() -> None:
    """The page's data dictionary is what the SQL files say."""
    assert PAGE.partition("## Data dictionary\n\n")[2] == models.dictionary()
