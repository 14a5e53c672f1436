"""Each change of Kantata's schema is told once; runs count only when they were proven."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.accounts import open_ids
from tests.support.equality import assert_equal
from tests.support.job import Job
from tests.support.kill_points import Point, died


@pytest.mark.long_on_postgres
def test_field_that_goes_again_is_told_again(job: Job) -> None:
    """A field that is missing is told of once each time, and so is that it is back."""
    with Sandbox(milestones=30) as sandbox:
        job.sync(sandbox)
        for _ in range(2):
            sandbox.account.remove_field("title")
            gone = [job.sync(sandbox).run.schema_changes for _ in range(2)]
            assert gone == [["billing_milestones.title is missing; its last values stay"], []]
            sandbox.account.restore_field("title")
            assert job.sync(sandbox).run.schema_changes == [
                "billing_milestones.title is there again"
            ]


@pytest.mark.long_on_postgres
def test_field_that_some_have_is_not_missing_of_the_others(job: Job) -> None:
    """A field that nobody declared is told as missing only if a record had it."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        first, second = open_ids(account)[:2]
        job.sync(sandbox)
        account.leave_out(second, "title")  # so that each run builds its row
        job.sync(sandbox)
        account.set_raw(first, "weight", 3)
        told = [job.sync(sandbox).run.schema_changes for _ in range(2)]
        assert told == [["billing_milestones.weight is new (bigint)"], []]
        account.clear_raw(first)
        told = [job.sync(sandbox).run.schema_changes for _ in range(2)]
        assert told == [["billing_milestones.weight is missing; its last values stay"], []]


def test_change_that_a_killed_run_found_is_told(job: Job) -> None:
    """What a run found and did not live to tell, the next proven one tells, once."""
    with Sandbox(milestones=30) as sandbox:
        job.sync(sandbox)
        sandbox.account.add_field("weight", 1)
        assert died(job, sandbox, Point("warehouse.raw.proof:compare_totals"))
        changes = [job.sync(sandbox).run.schema_changes for _ in range(2)]
        assert changes == [["billing_milestones.weight is new (bigint)"], []]


@pytest.mark.long_on_postgres
def test_change_within_an_object_is_told(job: Job) -> None:
    """A new field within a field, or one whose type changes there, is told once."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        account.add_field("data", {"a": 1})
        assert job.sync(sandbox).run.schema_changes == []
        account.add_field("data", {"a": "x", "b": 2})
        assert job.sync(sandbox).run.schema_changes == [
            "billing_milestones.data.a was bigint, and now is text too",
            "billing_milestones.data.b is new (bigint)",
        ]
        account.add_field("data", {"a": "y", "b": 3})
        assert job.sync(sandbox).run.schema_changes == []
        assert_equal(job, account)


@pytest.mark.long_on_postgres
def test_cursor_of_a_run_that_failed_does_not_count(job: Job) -> None:
    """The feed is asked from the last proven run on, whatever a failed one noted."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        proven = job.sync(sandbox).run.cursor_at
        assert proven is not None
        account.update_milestone(open_ids(account)[0], amount_in_cents=5)
        account.advance(3 * 3_600)
        job.sync(sandbox, full=False)
        job.run(
            "update kantata.sync_runs set status = 'failed', requests = 0 "
            "where run_id = (select max(run_id) from kantata.sync_runs)"
        )
        result = job.sync(sandbox, full=False)
        assert result.run.why == f"changes since {proven:%Y-%m-%d %H:%M} UTC"


@pytest.mark.long_on_postgres
def test_currencies_are_read_on_a_new_day(job: Job) -> None:
    """The first feed run of a day reads the currencies again, and later ones do not."""
    with Sandbox(milestones=30, now=datetime(2026, 7, 1, 12, tzinfo=UTC)) as sandbox:
        account = sandbox.account
        job.sync(sandbox)
        next(iter(account.currencies.values()))["name"] = "renamed"
        for hours, rows in ((0, {}), (13, {"currencies": 1}), (1, {})):
            account.advance(hours * 3_600)  # past midnight, and no scan is due yet
            result = job.sync(sandbox, full=False)
            assert (result.run.mode, result.run.side_rows) == ("feed", rows)
