"""A killed run makes the following runs scan, until one is validated."""

from __future__ import annotations

import pytest

from sources.kantata.errors import KantataUnavailable
from sources.kantata_sandbox import Fault, Sandbox
from tests.support.accounts import open_ids, versions
from tests.support.equality import assert_equal
from tests.support.job import Job

_KILLED = (
    "update kantata.sync_runs set status = 'running', finished_at = null "
    "where run_id = (select max(run_id) from kantata.sync_runs)"
)


@pytest.mark.long
def test_failed_runs_do_not_make_up_for_a_killed_one(job: Job) -> None:
    """After a run died between two tables and others failed to read, the next one scans."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        id_ = open_ids(account)[0]
        account.silently_update_milestone(id_, amount_in_cents=5)
        job.sync(sandbox)
        job.run(f"delete from kantata.billing_milestone_versions where id = '{id_}' and version=2")
        job.run(_KILLED)
        sandbox.misbehave(Fault("error"))
        for _ in range(2):
            with pytest.raises(KantataUnavailable):
                job.sync(sandbox, full=False)
        sandbox.behave()
        assert job.sync(sandbox, full=False).run.mode == "scan"
        assert versions(job, id_) == ["created", "updated"]
        assert job.sync(sandbox, full=False).run.mode == "feed"
        assert_equal(job, account)


@pytest.mark.long
def test_a_run_of_a_few_milestones_does_not_make_up_for_a_killed_one(job: Job) -> None:
    """A killed run is followed by a scan, even if only a few milestones were requested."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        job.sync(sandbox, full=False, touched=frozenset(open_ids(sandbox.account)[:2]))
        job.run(_KILLED)
        touched = frozenset(open_ids(sandbox.account)[:2])
        assert job.sync(sandbox, full=False, touched=touched).run.mode == "scan"


@pytest.mark.long_on("duckdb")
@pytest.mark.parametrize("version", [pytest.param(1, marks=pytest.mark.long), 2])
@pytest.mark.long
def test_a_lost_version_of_a_rejected_milestone_is_made_again(job: Job, version: int) -> None:
    """A version lost in a crash is made again once, from the row, while the record is rejected."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        id_ = open_ids(account)[0]
        job.synced(sandbox)
        for _ in range(version - 1):
            account.update_milestone(
                id_, amount_in_cents=account.milestones[id_]["amount_in_cents"] + 5
            )
            job.sync(sandbox)
        lost = "delete from kantata.billing_milestone_versions where id = '{}' and version = {}"
        job.run(lost.format(id_, version))
        job.run(_KILLED)
        account.set_raw(id_, "amount_in_cents", "12.50")
        expected = ["created", "updated"][:version]
        for _ in range(2):
            assert job.sync(sandbox).exit_code == 3
            assert versions(job, id_) == expected
        account.clear_raw(id_)
        for _ in range(2):
            assert job.sync(sandbox).exit_code == 0
            assert versions(job, id_) == [*expected, "updated"]  # the record as received
        assert_equal(job, account)


@pytest.mark.long
def test_leftovers_of_a_first_load_are_removed(job: Job) -> None:
    """Versions and links without rows are removed, even if access to their milestones is lost."""
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        hidden, absent = account.true_milestones[open_ids(account)[0]], open_ids(account)[-1]
        account.invoice_milestone(str(hidden["id"]))
        job.sync(sandbox)
        job.run("delete from kantata.billing_milestones")
        for schema in ("kantata_stg", "kantata_marts"):
            job.run(f"drop schema {schema} cascade")
        job.run("update kantata.sync_runs set status = 'running', finished_at = null")
        account.hide_workspace(str(hidden["workspace_id"]))
        account.leave_out(absent, "date_to_invoice")
        for full in (False, True):
            job.sync(sandbox, full=full)
            assert_equal(job, account)
        account.show_workspace(str(hidden["workspace_id"]))
        job.sync(sandbox)
        assert_equal(job, account)


@pytest.mark.long_on("postgres")
def test_versions_outlive_removed_rows(job: Job) -> None:
    """A version that a mart has shown stays, even if the rows were deleted."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        all_versions = "select * from kantata.billing_milestone_versions order by id, version"
        before = job.rows(all_versions)
        job.run("delete from kantata.billing_milestones")
        job.run(_KILLED)
        job.sync(sandbox)
        assert job.rows(all_versions) == before
        assert_equal(job, sandbox.account)


@pytest.mark.long
def test_a_missing_field_that_returned_is_reported_once(job: Job) -> None:
    """The run after a killed one reports that a field was missing and is there again."""
    with Sandbox(milestones=30) as sandbox:
        id_ = open_ids(sandbox.account)[0]
        sandbox.account.leave_out(id_, "title")
        job.sync(sandbox)
        job.run("update kantata.sync_runs set status = 'running', finished_at = null")
        sandbox.account.clear_raw(id_)
        changes = [job.sync(sandbox).run.schema_changes for _ in range(2)]
        title = "billing_milestones.title is "
        assert changes == [[f"{title}missing; its last values stay", f"{title}there again"], []]
