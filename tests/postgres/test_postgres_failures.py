"""Postgres fails while a run loads: the failure is reported, and the next run repairs all."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psycopg2
import pytest

from sources.kantata_sandbox import Account, Sandbox
from tests.support.accounts import open_ids
from tests.support.equality import assert_equal
from tests.support.job import Job
from warehouse.errors import WarehouseError

ALWAYS = 1000


@dataclass(frozen=True)
class Point:
    """A statement of a run.

    Args:
        name: What the run does with it.
        when: The clause of a trigger that fires in it.
        table: Its table.
        skip: How many such statements succeed first.
    """

    name: str
    when: str
    table: str
    skip: int = 0


STAGING, RAW, MARTS = "kantata_staging", "kantata", "kantata_marts"
COPY = Point("copy", "after insert", f"{STAGING}.billing_milestones")
MERGE = Point("merge, inserting", "after insert", f"{RAW}.billing_milestones")
MART = Point("fill a mart", "after insert", f"{MARTS}.billing_forecast")
END = Point("end the run", "before update", f"{RAW}.sync_runs", skip=2)
POINTS = [
    Point("begin the run", "before insert", f"{RAW}.sync_runs"),
    Point("record what was read", "before update", f"{RAW}.sync_runs", skip=1),
    Point("empty a staging table", "before truncate", f"{STAGING}.billing_milestones"),
    Point("begin to copy", "before insert", f"{STAGING}.billing_milestone_versions"),
    COPY,
    Point("merge, deleting", "after delete", f"{RAW}.billing_milestones"),
    MERGE,
    Point("end the load", "before insert", f"{RAW}._dlt_loads"),
    Point("begin the marts", "before delete", "kantata_stg.today"),
    MART,
    END,
]
CASES = [*((point, 1) for point in POINTS), (COPY, ALWAYS), (MERGE, ALWAYS)]
SHORT = [(POINTS[0], 1), (MERGE, ALWAYS), (MART, 1), (END, 1)]
END_CONNECTION = "pg_terminate_backend(pg_backend_pid())"


@contextmanager
def fails(job: Job, point: Point, how: str, times: int = ALWAYS) -> Iterator[None]:
    """Make Postgres fail within a statement, this many times; check that it was reached."""
    # A sequence keeps its value when the transaction is rolled back.
    job.run(
        f"""
        create sequence reached;
        create function fail() returns trigger language plpgsql as $$
        begin
            if nextval('reached') between {point.skip + 1} and {point.skip + times} then
                perform {how};
                perform pg_sleep(10);
            end if;
            return null;
        end $$;
        create trigger fail {point.when} on {point.table} execute function fail()
        """
    )
    yield
    assert job.rows("select last_value from reached")[0][0] > point.skip
    job.run("drop function fail() cascade; drop sequence reached")


def change_account(account: Account) -> None:
    """Edit, create, invoice and delete a milestone."""
    edited, billed, deleted, *_ = open_ids(account)
    account.update_milestone(
        edited, amount_in_cents=account.milestones[edited]["amount_in_cents"] + 1
    )
    account.invoice_milestone(billed)
    account.delete_milestone(deleted)
    account.create_milestone(title="new")


def fill(job: Job, sandbox: Sandbox, point: Point) -> None:
    """Provide the tables of the account, those in which rows are merged included."""
    job.synced(sandbox)
    if point.table.startswith(STAGING):  # a first load needs none of them
        sandbox.account.create_milestone(title="the first that is merged")
        job.sync(sandbox)


def outcome(job: Job, sandbox: Sandbox) -> tuple[int, str]:
    """Run a sync; return its exit code, and its message if it fails."""
    try:
        return job.sync(sandbox).exit_code, ""
    except WarehouseError as error:
        return error.exit_code, str(error)


def mart_rows(job: Job) -> list[tuple[object, ...]]:
    """Return the marts of the milestones and of the monthly schedule."""
    listed = "select id, status, amount from kantata_marts.billing_milestones order by id"
    monthly = "select * from kantata_marts.billing_schedule_monthly order by 1, 2, 3"
    return job.rows(listed) + job.rows(monthly)


@pytest.mark.parametrize(
    ("point", "times"),
    [
        pytest.param(
            point,
            times,
            id=f"{point.name}, {'once' if times == 1 else 'always'}",
            marks=() if (point, times) in SHORT else pytest.mark.long,
        )
        for point, times in CASES
    ],
)
def test_connection_is_ended(postgres: Job, point: Point, times: int) -> None:
    """Wherever the server ends a connection, the run succeeds or exits with 75; the next succeeds.

    dlt retries a COPY or a merge, so losing the connection once is no failure.
    """
    with Sandbox(milestones=60) as sandbox:
        fill(postgres, sandbox, point)
        before = mart_rows(postgres)
        change_account(sandbox.account)
        with fails(postgres, point, END_CONNECTION, times):
            code, message = outcome(postgres, sandbox)
        if times == ALWAYS or code:
            assert code == 75
            assert len(message.splitlines()) == 1
            assert "postgres:postgres" not in message
            assert (mart_rows(postgres) == before) is (point is not END)
        else:
            assert_equal(postgres, sandbox.account)
        assert postgres.sync(sandbox).exit_code == 0
        assert_equal(postgres, sandbox.account)
        assert mart_rows(postgres) != before
    statuses = postgres.rows("select status from kantata.sync_runs order by run_id")
    assert ("running",) not in statuses
    assert statuses[-1] == ("proven",)


@pytest.mark.parametrize("times", [pytest.param(1, marks=pytest.mark.long), ALWAYS])
def test_connection_is_ended_in_a_first_load(postgres: Job, times: int) -> None:
    """Rows that are inserted without a merge are there once, however often the server fails."""
    point = Point("insert", "after insert", f"{RAW}.billing_milestone_versions")
    with Sandbox(milestones=0) as sandbox:
        postgres.synced(sandbox)
        for number in range(30):
            id_ = sandbox.account.create_milestone(title=f"new {number}")
            sandbox.account.invoice_milestone(id_)
        with fails(postgres, point, END_CONNECTION, times):
            code, _ = outcome(postgres, sandbox)
        assert code == (0 if times == 1 else 75)
        assert postgres.sync(sandbox).exit_code == 0
        assert_equal(postgres, sandbox.account)
    count = "select count(*) from kantata.{}"
    for table in ("billing_milestone_versions", "billing_milestone_invoices", "invoices"):
        assert postgres.rows(count.format(table)) == [(30,)]


@pytest.mark.parametrize(
    "point",
    [MERGE, *(pytest.param(point, marks=pytest.mark.long) for point in (COPY, MART))],
    ids=lambda point: point.name,
)
def test_statement_timeout(postgres: Job, point: Point) -> None:
    """A cancelled statement is reported and recorded in sync_runs; the next run succeeds."""
    name = postgres.url.rpartition("/")[2]
    with Sandbox(milestones=60) as sandbox:
        fill(postgres, sandbox, point)
        before = mart_rows(postgres)
        change_account(sandbox.account)
        postgres.run(f"alter database {name} set statement_timeout = '5s'")
        with fails(postgres, point, "pg_sleep(600)"):
            code, message = outcome(postgres, sandbox)
        assert (code, "canceling statement due to statement timeout" in message) == (75, True)
        last_run = "select status, error from kantata.sync_runs order by run_id desc limit 1"
        assert postgres.rows(last_run) == [("failed", message)]
        assert mart_rows(postgres) == before
        postgres.run(f"alter database {name} reset statement_timeout")
        assert postgres.sync(sandbox).exit_code == 0
        assert_equal(postgres, sandbox.account)
        assert mart_rows(postgres) != before


def test_locked_table(postgres: Job) -> None:
    """A run that waits too long for a locked table exits with 75; the next builds the marts."""
    name = postgres.url.rpartition("/")[2]
    with Sandbox(milestones=60) as sandbox:
        postgres.synced(sandbox)
        change_account(sandbox.account)
        postgres.run(f"alter database {name} set statement_timeout = '5s'")
        other = psycopg2.connect(postgres.url)
        with other, other.cursor() as cursor:
            cursor.execute(f"lock table {MARTS}.milestone_slippage in share mode")
            code, message = outcome(postgres, sandbox)
        other.close()
        assert (code, "canceling statement due to statement timeout" in message) == (75, True)
        assert postgres.sync(sandbox, full=False).exit_code == 0
        assert_equal(postgres, sandbox.account)
        live = f"select count(*) from {MARTS}.milestone_slippage"
        assert postgres.rows(live) == [(len(sandbox.account.milestones),)]
