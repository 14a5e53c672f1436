"""Each schema change of Kantata is reported once; only validated runs count."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.accounts import open_ids
from tests.support.equality import assert_equal
from tests.support.job import Job
from tests.support.kill_points import Point, died


@pytest.mark.long
def test_field_that_disappears_again_is_reported_again(job: Job) -> None:
    """Each time a field disappears or comes back, that is reported once."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        for _ in range(2):
            sandbox.account.remove_field("title")
            reported = [job.sync(sandbox).run.schema_changes for _ in range(2)]
            assert reported == [["billing_milestones.title is missing; its last values stay"], []]
            sandbox.account.restore_field("title")
            assert job.sync(sandbox).run.schema_changes == [
                "billing_milestones.title is there again"
            ]


@pytest.mark.long
def test_field_of_some_records_is_not_missing_in_others(job: Job) -> None:
    """An undeclared field is reported as missing only if a record loses it."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        first, second = open_ids(account)[:2]
        job.synced(sandbox)
        account.leave_out(second, "title")  # so that each run builds its row
        job.sync(sandbox)
        account.set_raw(first, "weight", 3)
        reported = [job.sync(sandbox).run.schema_changes for _ in range(2)]
        assert reported == [["billing_milestones.weight is new (bigint)"], []]
        account.clear_raw(first)
        reported = [job.sync(sandbox).run.schema_changes for _ in range(2)]
        assert reported == [["billing_milestones.weight is missing; its last values stay"], []]


@pytest.mark.long_on("postgres")
def test_change_found_by_a_killed_run_is_reported(job: Job) -> None:
    """A schema change found by a killed run is reported once, by the next validated run."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        sandbox.account.add_field("weight", 1)
        assert died(job, sandbox, Point("warehouse.raw.proof:compare_totals"))
        changes = [job.sync(sandbox).run.schema_changes for _ in range(2)]
        assert changes == [["billing_milestones.weight is new (bigint)"], []]


@pytest.mark.long
def test_change_within_an_object_is_reported(job: Job) -> None:
    """A new field within an object, or a new type of one, is reported once."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        account.add_field("data", {"a": 1})
        assert job.sync(sandbox).run.schema_changes == ["billing_milestones.data is new (text)"]
        account.add_field("data", {"a": "x", "b": 2})
        assert job.sync(sandbox).run.schema_changes == [
            "billing_milestones.data.a was bigint, and now is text too",
            "billing_milestones.data.b is new (bigint)",
        ]
        account.add_field("data", {"a": "y", "b": 3})
        assert job.sync(sandbox).run.schema_changes == []
        assert_equal(job, account)


@pytest.mark.long_on("postgres")
def test_cursor_of_a_run_that_failed_does_not_count(job: Job) -> None:
    """The feed is read from the cursor of the last validated run; a failed one does not count."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        ((proven,),) = job.rows("select cursor_at from kantata.sync_runs")
        account.update_milestone(open_ids(account)[0], amount_in_cents=5)
        account.advance(3 * 3_600)
        job.sync(sandbox, full=False)
        job.run(
            "update kantata.sync_runs set status = 'failed', requests = 0 "
            "where run_id = (select max(run_id) from kantata.sync_runs)"
        )
        result = job.sync(sandbox, full=False)
        assert result.run.why == f"changes since {proven.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


@pytest.mark.long
def test_currencies_are_read_on_a_new_day(job: Job) -> None:
    """The first incremental sync of a day reads the currencies again; later ones do not."""
    with Sandbox(milestones=30, now=datetime(2026, 7, 1, 12, tzinfo=UTC)) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        next(iter(account.currencies.values()))["name"] = "renamed"
        for hours, rows in ((0, {}), (13, {"currencies": 1}), (1, {})):
            account.advance(hours * 3_600)  # past midnight, and no scan is due yet
            result = job.sync(sandbox, full=False)
            assert (result.run.mode, result.run.side_rows) == ("feed", rows)
