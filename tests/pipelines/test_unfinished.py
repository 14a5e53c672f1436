"""What a killed run left half loaded is remembered until a run has proven everything."""

from __future__ import annotations

import pytest

from sources.kantata.errors import KantataUnavailable
from sources.kantata_sandbox import Fault, Sandbox
from tests.conftest import Job
from tests.pipelines.equality import assert_equal
from tests.pipelines.test_incremental import open_ids, versions

_KILLED = (
    "update kantata.sync_runs set status = 'running', finished_at = null "
    "where run_id = (select max(run_id) from kantata.sync_runs)"
)


def test_half_a_load_is_remembered_over_runs_that_fail(job: Job) -> None:
    """Killed between two tables, and then failing while reading, the next run that reads scans."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.sync(sandbox)
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


def test_a_run_of_what_was_touched_does_not_make_up_for_it(job: Job) -> None:
    """A killed run is followed by a scan, also when only a few milestones were asked for."""
    with Sandbox(milestones=30) as sandbox:
        job.sync(sandbox)
        job.sync(sandbox, full=False, touched=frozenset(open_ids(sandbox.account)[:2]))
        job.run(_KILLED)
        touched = frozenset(open_ids(sandbox.account)[:2])
        assert job.sync(sandbox, full=False, touched=touched).run.mode == "scan"


@pytest.mark.parametrize("version", [1, 2])
def test_a_version_that_was_lost_is_told_of_a_milestone_that_is_rejected(
    job: Job, version: int
) -> None:
    """Its row has values no version tells of, and its record cannot be typed: once it is told."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        id_ = open_ids(account)[0]
        for _ in range(version):
            account.update_milestone(
                id_, amount_in_cents=account.milestones[id_]["amount_in_cents"] + 5
            )
            job.sync(sandbox)
        lost = "delete from kantata.billing_milestone_versions where id = '{}' and version = {}"
        job.run(lost.format(id_, version))
        job.run(_KILLED)
        account.set_raw(id_, "amount_in_cents", "12.50")
        told = ["created", "updated"][:version]
        for _ in range(2):
            assert job.sync(sandbox).exit_code == 3
            assert versions(job, id_) == told
        account.clear_raw(id_)
        for _ in range(2):
            assert job.sync(sandbox).exit_code == 0
            assert versions(job, id_) == [*told, "updated"]  # the record as received
        assert_equal(job, account)
