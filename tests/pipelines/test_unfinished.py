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
