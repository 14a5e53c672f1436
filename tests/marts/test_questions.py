"""The questions of ANALYSTS.md: their SQL gives what the sandbox's own records say."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import duckdb
import psycopg2
import pytest

from pipelines.ops.marts import rebuild_marts
from sources.kantata_sandbox import Account, Sandbox
from tests.support.accounts import open_ids
from tests.support.answers import ZONE, PastTruth, Rows, Truth, months_later
from tests.support.histories import Histories
from tests.support.job import Job
from warehouse.models import build

PAGE = (Path(__file__).parents[2] / "warehouse" / "ANALYSTS.md").read_text()
QUESTIONS = re.findall(r"### (\d+)\. [^\n]*\n[^#]*?```sql\n(.*?);\n```", PAGE, re.DOTALL)
SQL = {int(number): sql for number, sql in QUESTIONS}
Ask = Callable[[str], Rows]


@contextmanager
def analyst(job: Job, zone: str) -> Iterator[Ask]:
    """Someone who may read the marts and no more, whose session is in a zone of its own."""
    if job.name == "duckdb":
        with duckdb.connect(str(job.target.published), read_only=True) as connection:
            connection.execute(f"set timezone = '{zone}'")
            yield lambda sql: connection.execute(sql).fetchall()
        return
    with closing(psycopg2.connect(job.url)) as session, session.cursor() as cursor:
        cursor.execute("set role milestones_reader")
        cursor.execute(f"set time zone '{zone}'")

        def ask(sql: str) -> Rows:
            cursor.execute(sql)
            return list(cursor.fetchall())

        yield ask


def unordered(rows: Rows) -> Counter[tuple[Any, ...]]:
    """Rows whose order collations decide."""
    return Counter(rows)


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
    histories = Histories()
    with Sandbox(milestones=400) as sandbox:
        account = sandbox.account
        job.sync(sandbox)
        histories.observe(account)
        stock = frozenset(histories.versions)
        observed_earlier(job, days=8)
        earlier, between = Truth(account, datetime.now(UTC).date()).schedule(), datetime.now(UTC)
        for _ in a_week_of_work(account):
            assert job.sync(sandbox, full=False).exit_code == 0
            histories.observe(account)
        rebuild_marts(job.target)
    today = job.rows("select as_of from kantata_marts.data_freshness")[0][0]
    monday = datetime.combine(today - timedelta(days=today.weekday()), time(), ZONE)
    truth = Truth(account, today)
    told = PastTruth(histories, truth, stock, moments(job))
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


def assert_answers(ask: Ask, truth: Truth, told: PastTruth, monday: datetime) -> None:
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
    assert PAGE.partition("## Data dictionary\n\n")[2] == build.dictionary()
