"""The questions of ANALYSTS.md: their SQL gives the answers of the sandbox's own records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, date, datetime, time, timedelta
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
from tests.support.questions import PAGE, SQL
from warehouse.models.dictionary import HEADING, dictionary

ON_THE_PAGE = "2026-03-01 00:00:00+00"
Query = Callable[[str], Rows]


@contextmanager
def analyst(job: Job, zone: str) -> Iterator[Query]:
    """Open a session that may only read the marts, in a given time zone."""
    if job.name == "duckdb":
        with duckdb.connect(str(job.target.published), read_only=True) as connection:
            connection.execute(f"set timezone = '{zone}'")
            yield lambda sql: connection.execute(sql).fetchall()
        return
    with closing(psycopg2.connect(job.url)) as session, session.cursor() as cursor:
        cursor.execute("set role milestones_reader")
        cursor.execute(f"set time zone '{zone}'")

        def query(sql: str) -> Rows:
            cursor.execute(sql)
            return list(cursor.fetchall())

        yield query


def unordered(rows: Rows) -> Counter[tuple[Any, ...]]:
    """Rows without their order, which depends on the collation."""
    return Counter(rows)


def at_moment(moment: datetime) -> str:
    """Question 7 for this time."""
    assert SQL[7].count(ON_THE_PAGE) == 1
    return SQL[7].replace(ON_THE_PAGE, str(moment))


def a_week_of_work(account: Account) -> Iterator[None]:
    """Make the changes between syncs: edits, deletions, and every kind of invoice."""
    dated = [i for i in open_ids(account) if account.milestones[i]["date_to_invoice"]]
    slipped, raised, billed, deleted, soon, undated, twice, both, *_ = dated
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
    account.delete_milestone(deleted)
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
    """Move the observation of every second milestone back by so many days."""
    ids = sorted(row[0] for row in job.rows("select id from kantata.billing_milestone_versions"))
    listed = ", ".join(f"'{id_}'" for id_ in ids[::2])
    job.run(
        "update kantata.billing_milestone_versions set observed_at = observed_at - "
        f"interval '{days} days' where id in ({listed})"
    )


@pytest.mark.long_on("postgres")
def test_questions(
    job: Job, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first ten questions give the answers of the account's records, in any session time zone.

    On Postgres loader and reader have only the rights of roles.sql.
    """
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
    past = PastTruth(histories, truth, stock, moments(job))
    for zone in ("Pacific/Auckland", "America/Los_Angeles"):
        with analyst(job, zone) as query:
            assert_answers(query, truth, past, monday)
            assert unordered(query(at_moment(datetime.now(UTC)))) == unordered(truth.schedule())
            assert unordered(query(at_moment(between))) == unordered(earlier)
            assert query(at_moment(datetime(2020, 1, 1, tzinfo=UTC))) == []


def moments(job: Job) -> dict[tuple[str, int], datetime]:
    """The time at which each version was observed."""
    return {
        (id_, version): moment
        for id_, version, moment in job.rows(
            "select id, version, observed_at from kantata.billing_milestone_versions"
        )
    }


def assert_answers(query: Query, truth: Truth, past: PastTruth, monday: datetime) -> None:
    """Assert the answers to all questions except the seventh."""
    assert query(SQL[1]) == truth.next_quarter()
    assert query(SQL[2]) == truth.overdue()
    assert query(SQL[3]) == past.slipped()
    assert query(SQL[4]) == truth.unscheduled()
    assert unordered(query(SQL[5])) == unordered(truth.by_project())
    changes = past.changed_since(monday)
    assert {row[3] for row in changes} == {"created", "updated", "deleted"}
    assert len(changes) < len(past.moments)
    assert query(SQL[6]) == changes
    assert query(SQL[8]) == past.bridge()
    invoiced = [(row[0], row[1], row[6]) for row in past.bridge() if row[6]]
    assert invoiced
    assert [(row[0], row[1], row[-1]) for row in query(SQL[9])] == sorted(invoiced)
    as_of, read_up_to, scanned_at, status, milestones, *wrong = query(SQL[10])[0]
    live = len(truth.account.milestones)
    assert (as_of, status, milestones, wrong) == (truth.today, "proven", live, [0, 0])
    assert abs(read_up_to - datetime.now(UTC)) < timedelta(minutes=5)
    assert abs(scanned_at - datetime.now(UTC)) < timedelta(minutes=5)


def test_dictionary_is_that_of_the_models() -> None:
    """The page's data dictionary equals that of the SQL files."""
    assert PAGE.partition(HEADING)[2] == dictionary()
