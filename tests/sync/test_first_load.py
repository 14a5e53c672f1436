"""The first rows of a table are inserted, not merged: none is doubled, none is lost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sources.kantata.schema import LARGE_TABLES, LOADED
from sources.kantata_sandbox import Account, Fault, Sandbox
from tests.support.dlt_log import dlt_warnings
from tests.support.equality import assert_equal
from tests.support.job import Job


@pytest.fixture(autouse=True)
def _no_warnings(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Dlt warns of nothing, such as of hints that do not fit each other."""
    monkeypatch.setenv("RUNTIME__LOG_LEVEL", "WARNING")
    with dlt_warnings() as messages:
        yield
    assert messages == []


def merged_tables(job: Job) -> set[str]:
    """Return the tables that dlt has loaded by a merge: they have a staging table."""
    with job.reading():
        staged = job.rows(
            "select table_name from information_schema.tables "
            "where table_schema = 'kantata_staging'"
        )
    return {name for (name,) in staged}


def assert_keys_are_unique(job: Job) -> None:
    """Each key of a large table has one row."""
    with job.reading():
        for table in LARGE_TABLES:
            key = ", ".join(LOADED[table][1])
            doubled = f"select {key} from kantata.{table} group by {key} having count(*) > 1"
            assert job.rows(doubled) == []


@pytest.mark.long
def test_first_rows_are_inserted(job: Job) -> None:
    """A first load uses no staging table for the tables that grow; the next change is merged."""
    with Sandbox(milestones=401, seed=4) as sandbox:
        job.sync(sandbox)
        assert merged_tables(job).isdisjoint(LARGE_TABLES)
        assert_equal(job, sandbox.account)
        changed = next(iter(sandbox.account.milestones))
        sandbox.account.update_milestone(changed, title="changed later")
        job.sync(sandbox)
        assert "billing_milestones" in merged_tables(job)
        assert_equal(job, sandbox.account)
    assert_keys_are_unique(job)
    versions = "select version from kantata.billing_milestone_versions where id = %s order by 1"
    assert job.rows(versions.replace("%s", f"'{changed}'")) == [(1,), (2,)]


@pytest.mark.long_on("postgres")
def test_a_milestone_read_twice_is_merged(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """What changes while the first scan reads it has its last values, both versions and links."""
    # With several, an answer from before the change may arrive last.
    monkeypatch.setenv("SOURCES__KANTATA__REQUESTS_IN_FLIGHT", "1")
    with Sandbox(milestones=401, seed=4) as sandbox:
        last = sandbox.account.milestones[[*sandbox.account.milestones][-1]]

        def change(account: Account) -> None:
            account.update_milestone(last["id"], title="changed while it was read")
            account.update_workspace(last["workspace_id"], title="changed, too")

        # The last page is read again at the end, for milestones that are added meanwhile.
        once = Fault(
            "change",
            path="billing_milestones$",
            query={"page": "3"},
            skip=1,
            times=1,
            action=change,
        )
        sandbox.misbehave(once)
        job.sync(sandbox)
        assert_equal(job, sandbox.account)
        versions = (
            "select title from kantata.billing_milestone_versions where id = '{}' order by version"
        )
        assert [title for (title,) in job.rows(versions.format(last["id"]))][1:] == [
            "changed while it was read"
        ]
    assert {"billing_milestones", "workspaces"} <= merged_tables(job)
    assert "stories" not in merged_tables(job)
    assert_keys_are_unique(job)
