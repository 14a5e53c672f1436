"""The warehouse follows the account: feed, deletes, restores, access lost, migrations."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from pipelines.ops.marts import rebuild_marts
from sources.kantata_sandbox import Fault, Sandbox
from tests.support.accounts import open_ids, smallest_project, versions
from tests.support.equality import assert_equal, ids_where
from tests.support.job import Job
from warehouse.errors import WarehouseMisconfigured
from warehouse.raw.schema import WAREHOUSE_VERSION

DAY = 86_400


@pytest.mark.long_on("postgres")
def test_feed_brings_every_change(job: Job) -> None:
    """The feed alone finds created, edited, invoiced, un-invoiced and deleted milestones."""
    with Sandbox(milestones=300) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        one, two, three, deleted, *_ = open_ids(account)
        billed = next(i for i, m in account.milestones.items() if m["invoice_id"])
        account.update_milestone(one, amount_in_cents=123_456)
        invoice = account.invoice_milestone(two)
        account.cancel_invoice(account.milestones[billed]["invoice_id"])
        draft = account.invoice_milestone(three, draft=True)
        new = account.create_milestone(title="new")
        result = job.sync(sandbox, full=False)
        assert (result.run.mode, result.exit_code) == ("feed", 0)
        assert_equal(job, account)
        account.delete_milestone(deleted)
        account.delete_invoice(draft)
        account.update_invoice(invoice, draft=False, title="sent")
        result = job.sync(sandbox, full=False)
        assert (result.run.mode, result.exit_code, result.run.deleted) == ("feed", 0, 1)
        assert ids_where(job, "deleted_at is not null") == {deleted}
        assert_equal(job, account)
        assert versions(job, deleted) == ["created", "deleted"]
        assert versions(job, new) == ["created"]
        assert versions(job, three) == ["created", "updated", "updated"]


@pytest.mark.long
def test_feed_run_of_deletes_alone(job: Job) -> None:
    """A canary, fetched only to confirm deletes, is not loaded and gets no version."""
    versions_sql = "select id, version, change_type, raw from kantata.billing_milestone_versions"
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        for id_ in open_ids(account):
            account.update_milestone(id_, title="twice")
        job.sync(sandbox)
        account.advance(2 * 3_600)
        job.sync(sandbox, full=False)
        before = set(job.rows(versions_sql))
        deleted = open_ids(account)[0]
        account.delete_milestone(deleted)
        result = job.sync(sandbox, full=False)
        assert (result.run.mode, result.run.rows_read) == ("feed", 0)
        assert (result.run.added, result.run.changed, result.run.deleted) == (0, 0, 1)
        assert {row[:3] for row in set(job.rows(versions_sql)) - before} == {
            (deleted, 3, "deleted")
        }
        assert before <= set(job.rows(versions_sql))
        assert_equal(job, account)


@pytest.mark.long_on("postgres")
def test_unchanged_account_costs_little(job: Job) -> None:
    """An incremental sync of an unchanged account takes at most five requests, writes no row."""
    with Sandbox(milestones=300) as sandbox:
        job.synced(sandbox)
        before = job.rows("select count(*), max(_dlt_load_id) from kantata.billing_milestones")
        result = job.sync(sandbox, full=False)
        assert (result.run.mode, result.run.side_rows) == ("feed", {})
        assert result.run.requests <= 5
        assert (result.run.added, result.run.changed, result.exit_code) == (0, 0, 0)
        after = job.rows("select count(*), max(_dlt_load_id) from kantata.billing_milestones")
        assert after == before


def _feed_off(sandbox: Sandbox) -> None:
    sandbox.account.set_feed(enabled=False)


def _no_administrator(sandbox: Sandbox) -> None:
    sandbox.account.set_feed(administrator=False)


def _a_day_later(sandbox: Sandbox) -> None:
    sandbox.account.advance(DAY + 60)


def _types_unreadable(sandbox: Sandbox) -> None:
    sandbox.misbehave(Fault("html", path="event_types"))


def _events_fail(sandbox: Sandbox) -> None:
    sandbox.misbehave(Fault("error", path="subscribed_events$"))


def _no_invoices(sandbox: Sandbox) -> None:
    sandbox.misbehave(Fault("refuse", status=403, path="invoices$"))


def _event_delayed(sandbox: Sandbox) -> None:
    sandbox.account.set_feed(delay_seconds=DAY)
    sandbox.account.create_milestone(title="no event yet")


def _many(sandbox: Sandbox) -> None:
    for id_ in open_ids(sandbox.account)[:40]:
        sandbox.account.delete_milestone(id_)


@pytest.mark.long_on("postgres")
@pytest.mark.parametrize(
    ("happens", "why"),
    [
        (_feed_off, "not enabled"),
        pytest.param(_no_administrator, "administrator", marks=pytest.mark.long),
        (_a_day_later, "the last validated scan began"),
        pytest.param(_types_unreadable, "no feed", marks=pytest.mark.long),
        pytest.param(_events_fail, "no feed", marks=pytest.mark.long),
        pytest.param(_no_invoices, "no feed", marks=pytest.mark.long),
        (_event_delayed, "accounts for"),
        (_many, "missing at once"),
    ],
)
def test_without_feed_it_scans(job: Job, happens: Callable[[Sandbox], None], why: str) -> None:
    """If the feed cannot be used, the run scans and reports why."""
    with Sandbox(milestones=300) as sandbox:
        job.synced(sandbox)
        happens(sandbox)
        result = job.sync(sandbox, full=False)
        assert result.run.mode == "scan"
        assert why in result.run.why
        assert f"scan: {result.run.why}" in job.notes
        if happens is not _many:
            assert result.exit_code == 0
            assert_equal(job, sandbox.account)


@pytest.mark.long_on("postgres")
def test_feed_does_not_reach_back(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cursor older than the feed's retention leads to a scan, even if none is due."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        monkeypatch.setenv("SOURCES__KANTATA__SCAN_EVERY", "30d")
        sandbox.account.advance(5 * DAY)
        assert job.sync(sandbox, full=False).run.mode == "feed"
        sandbox.account.advance(7 * DAY)
        result = job.sync(sandbox, full=False)
        assert (result.run.mode, "reach back" in result.run.why) == ("scan", True)


@pytest.mark.long_on("postgres")
def test_late_and_duplicate_events(job: Job) -> None:
    """Events that arrive twice and half an hour late bring each change once."""
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        account.set_feed(delay_seconds=1_800, copies=2)
        id_ = open_ids(account)[0]
        account.update_milestone(id_, title="reported late")
        assert job.sync(sandbox, full=False).run.changed == 0
        account.advance(1_900)
        result = job.sync(sandbox, full=False)
        assert (result.run.mode, result.run.changed) == ("feed", 1)
        assert_equal(job, account)
        assert versions(job, id_) == ["created", "updated"]


@pytest.mark.long
def test_silent_changes_wait_for_the_scan(job: Job) -> None:
    """The next scan finds changes that raise no event."""
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        account.silently_update_milestone(open_ids(account)[0], amount_in_cents=1)
        project = next(iter(account.milestones.values()))["workspace_id"]
        account.rename_workspace(project, "renamed")
        assert job.sync(sandbox, full=False).run.changed == 0
        assert job.sync(sandbox).run.changed == 1
        assert_equal(job, account)


@pytest.mark.long_on("postgres")
@pytest.mark.parametrize("full", [pytest.param(True, marks=pytest.mark.long), False])
def test_deleted_and_restored(job: Job, full: bool) -> None:
    """A deleted milestone keeps its last values; one that comes back is restored."""
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        id_ = open_ids(account)[0]
        last = dict(account.true_milestones[id_])
        job.synced(sandbox)
        account.delete_milestone(id_)
        result = job.sync(sandbox, full=full)
        assert (result.exit_code, result.run.deleted) == (0, 1)
        title, amount = job.rows(
            f"select title, amount_in_cents from kantata.billing_milestones where id = '{id_}'"
        )[0]
        assert (title, amount) == (last["title"], last["amount_in_cents"])
        assert job.sync(sandbox, full=full).run.deleted == 0
        account.restore_milestone(last)
        result = job.sync(sandbox)
        assert (result.run.restored, result.run.added, result.run.changed) == (1, 0, 0)
        assert versions(job, id_) == ["created", "deleted", "restored"]
        assert_equal(job, account)


@pytest.mark.long_on("postgres")
def test_access_lost_is_not_deleted(job: Job) -> None:
    """While a project cannot be read, its milestones are marked access lost, not deleted."""
    with Sandbox(milestones=300) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        project, mine = smallest_project(account)
        account.hide_workspace(project)
        for full in (True, False):
            result = job.sync(sandbox, full=full)
            assert (result.exit_code, ids_where(job, "deleted_at is not null")) == (3, set())
            assert ids_where(job, "access_lost_at is not null") == mine
            assert f"--allow-deletes {project}" in result.run.warnings[0]
        account.show_workspace(project)
        result = job.sync(sandbox)
        assert (result.exit_code, result.run.restored) == (0, len(mine))
        assert_equal(job, account)
        assert versions(job, next(iter(mine))) == ["created"]


@pytest.mark.long_on("duckdb")
def test_deleted_project_must_be_confirmed(job: Job) -> None:
    """Milestones of a deleted project count as deleted once a person confirms the project."""
    with Sandbox(milestones=300) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        project, mine = smallest_project(account)
        account.delete_workspace(project)
        assert job.sync(sandbox).exit_code == 3
        assert ids_where(job, "deleted_at is not null") == set()
        with pytest.raises(WarehouseMisconfigured, match="no milestone of project 424242"):
            job.sync(sandbox, deleted_projects=frozenset({project, "424242"}))
        result = job.sync(sandbox, full=False, deleted_projects=frozenset({project}))
        assert f"project {project}: its {len(mine)} milestones" in "".join(job.notes)
        assert (result.exit_code, result.run.deleted) == (0, len(mine))
        assert ids_where(job, "deleted_at is not null") == mine
        assert job.sync(sandbox).exit_code == 0
        assert_equal(job, account)


@pytest.mark.long_on("duckdb")
def test_deletion_guard(job: Job) -> None:
    """If many milestones are missing at once, none is marked until a person allows it."""
    with Sandbox(milestones=300) as sandbox:
        job.synced(sandbox)
        _many(sandbox)
        for full in (True, False):
            result = job.sync(sandbox, full=full)
            assert (result.exit_code, ids_where(job, "deleted_at is not null")) == (3, set())
            assert "40 milestones are missing at once" in result.run.warnings[0]
        result = job.sync(sandbox, full=False, allow_deletes=True)
        assert (result.exit_code, result.run.deleted) == (0, 40)
        assert_equal(job, sandbox.account)


@pytest.mark.long_on("postgres")
def test_empty_scan_deletes_nothing(job: Job) -> None:
    """An empty list deletes nothing while the warehouse is not empty."""
    with Sandbox(milestones=5) as sandbox:
        job.synced(sandbox)
        for id_ in list(sandbox.account.milestones):
            sandbox.account.delete_milestone(id_)
        result = job.sync(sandbox)
        assert (result.exit_code, ids_where(job, "deleted_at is not null")) == (3, set())


@pytest.mark.long_on("postgres")
def test_answer_without_canary_deletes_nothing(job: Job) -> None:
    """An answer that lacks the canary, a milestone known to exist, deletes nothing."""
    with Sandbox(milestones=60) as sandbox:
        job.synced(sandbox)
        sandbox.account.delete_milestone(open_ids(sandbox.account)[0])
        sandbox.misbehave(Fault("lose_rows", rows=200, path="billing_milestones$", skip=1))
        result = job.sync(sandbox)
        assert ids_where(job, "deleted_at is not null") == set()
        assert result.exit_code == 3
        assert "none was marked as deleted" in result.run.warnings[0]


@pytest.mark.long_on("duckdb")
def test_another_machine_continues(job: Job) -> None:
    """A machine without the local folder continues by the feed: the cursor is in the warehouse."""
    with Sandbox(milestones=60) as sandbox:
        job.synced(sandbox)
        sandbox.account.update_milestone(open_ids(sandbox.account)[0], title="changed")
        if job.name == "duckdb":
            shutil.rmtree(job.target.working)
        else:
            shutil.rmtree(job.target.folder)
        result = job.sync(sandbox, full=False)
        assert (result.run.mode, result.run.changed) == ("feed", 1)
        assert_equal(job, sandbox.account)


@pytest.mark.long
def test_new_side_loaded_type_gets_its_table(job: Job) -> None:
    """Records of an undeclared type get their own table, which is reported once."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        sandbox.account.side_load("riskScores", {"7": {"id": "7", "score": 3, "why": {"a": 1}}})
        result = job.sync(sandbox)
        table = result.run.schema_changes[0].split()[0]
        assert table.startswith("risk_scores")
        assert job.rows(f"select id, score, why from kantata.{table}") == [("7", 3, '{"a":1}')]
        again = job.sync(sandbox)
        assert (again.run.schema_changes, again.run.side_rows) == ([], {})


@pytest.mark.long
def test_field_that_disappears_is_reported_once(job: Job) -> None:
    """A field missing from every record keeps its last values and is reported by one run."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        sandbox.account.remove_field("billing_type")
        first, second = job.sync(sandbox), job.sync(sandbox)
        missing = "billing_milestones.billing_type is missing; its last values stay"
        assert (first.run.schema_changes, second.run.schema_changes) == ([missing], [])
        sandbox.account.update_milestone(open_ids(sandbox.account)[0], title="again")
        assert job.sync(sandbox).run.schema_changes == []


@pytest.mark.long_on("postgres")
def test_new_currency_gets_its_unit_at_once(job: Job) -> None:
    """An incremental sync that meets an unknown currency reads the currencies."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        id_ = open_ids(account)[0]
        job.run(
            "delete from kantata.currencies where iso_code = "
            f"'{account.milestones[id_]['currency']}'"
        )
        account.update_milestone(id_, title="in a new currency")
        result = job.sync(sandbox, full=False)
        assert (result.run.mode, result.run.side_rows) == ("feed", {"currencies": 1})
        assert_equal(job, account)


@pytest.mark.long_on("postgres")
def test_local_clock_does_not_matter(job: Job) -> None:
    """A clock that is a year behind changes neither what is read nor the order of the runs."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        account.update_milestone(open_ids(account)[0], title="changed")
        job.now = lambda: datetime.now(UTC) - timedelta(days=365)
        result = job.sync(sandbox, full=False)
        assert (result.run.mode, result.run.changed) == ("feed", 1)
        assert job.sync(sandbox, full=False).run.changed == 0
        ids = [row[0] for row in job.rows("select run_id from kantata.sync_runs order by requests")]
        assert len(set(ids)) == 3
        latest = job.rows("select max(run_id) from kantata.sync_runs")[0][0]
        assert latest == max(ids)
        assert_equal(job, account)


@pytest.mark.long_on("postgres")
def test_unfinished_run_leads_to_a_scan(job: Job) -> None:
    """After a run that was killed while loading, the next one scans."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        job.run("update kantata.sync_runs set status = 'running', finished_at = null")
        result = job.sync(sandbox, full=False)
        assert (result.run.mode, result.exit_code) == ("scan", 0)


@pytest.mark.long_on("duckdb")
def test_older_warehouse_is_migrated(job: Job) -> None:
    """A warehouse of version 1 is migrated, and keeps its runs, rows and versions."""
    values = "title, workspace_id, currency, amount_in_cents, date_to_invoice, invoice_id"
    versions_sql = (
        f"select id, version, change_type, {values}, previous_date_to_invoice "
        "from kantata_marts.billing_milestone_history order by id, version"
    )
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        moved, without_title, changed, *_ = open_ids(account)
        job.synced(sandbox)
        account.update_milestone(moved, date_to_invoice="2027-03-04")
        account.remove_field("title")
        account.update_milestone(without_title, amount_in_cents=4711)
        job.sync(sandbox)
        account.delete_milestone(moved)
        job.sync(sandbox)
        history = job.rows(versions_sql)
        assert {row[1] for row in history} == {1, 2, 3}
        job.run("alter table kantata.sync_runs drop column access_lost")
        job.run("drop view kantata_stg.received_versions; drop view kantata_stg.billing_milestones")
        for column in (*values.split(", "), "minor_unit"):
            job.run(f"alter table kantata.billing_milestone_versions drop column {column}")
        job.run("alter table kantata.change_requests drop column twins")
        job.run("alter table kantata.change_events drop column chain_hash")
        job.run("update kantata.warehouse_version set version = 1")
        rebuild_marts(job.target)
        assert job.rows(versions_sql) == history
        job.run(
            "update kantata.billing_milestone_versions set amount_in_cents = null, title = null"
        )
        account.update_milestone(changed, amount_in_cents=815)
        result = job.sync(sandbox, full=False)
        assert (result.run.mode, result.run.changed) == ("feed", 1)
        assert job.rows("select version from kantata.warehouse_version") == [(WAREHOUSE_VERSION,)]
        assert job.rows("select twins, resends from kantata.change_requests") == []
        assert job.rows("select chain_hash from kantata.change_events") == []
        assert job.rows("select count(*), count(access_lost) from kantata.sync_runs") == [(4, 1)]
        now = job.rows(versions_sql)
        assert ([row for row in now if row in history], len(now)) == (history, len(history) + 1)
        assert_equal(job, account)


def test_warehouse_of_a_later_release_is_not_touched(job: Job, tmp_path: Path) -> None:
    """A warehouse of a later release is refused and not touched."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        job.run("update kantata.warehouse_version set version = 99")
        with pytest.raises(Exception, match="version 99") as raised:
            job.sync(sandbox)
        assert getattr(raised.value, "exit_code", None) == 2
