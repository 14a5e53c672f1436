"""The marts: documented, correct to the minor unit on both warehouses, never half built."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from pipelines.ops.marts import rebuild_marts
from sources.kantata_sandbox import Sandbox
from tests.support.accounts import open_ids
from tests.support.job import Job
from tests.support.kill_points import Point, died
from warehouse.database import connect
from warehouse.errors import WarehouseChecksFailed, WarehouseMisconfigured
from warehouse.models import build

SLIPPAGE = "select count(*), sum(amount_in_cents) from kantata_marts.milestone_slippage"
HISTORY = "select count(*) from kantata_marts.billing_milestone_history"
DAY = build.BuildContext(run_id="run", as_of=date(2026, 11, 20), timezone="Europe/Berlin")


@pytest.mark.long_on("postgres")
def test_marts_show_the_account(job: Job) -> None:
    """After a sync the mart shows each milestone with its project, task and invoice."""
    with Sandbox(milestones=300) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        rows = job.rows(
            "select id, project, task, invoice_status, invoice_is_draft, currency, amount, status, "
            "date_to_invoice, (select as_of from kantata_marts.data_freshness) "
            "from kantata_marts.billing_milestones"
        )
        assert len(rows) == 300
        for id_, project, task, invoice_status, draft, currency, amount, status, due, today in rows:
            milestone = account.milestones[id_]
            invoice = account.invoices.get(milestone["invoice_id"] or "", {})
            story = account.stories.get(milestone["story_id"] or "", {})
            assert project == account.workspaces[milestone["workspace_id"]]["title"]
            assert task in (story.get("title"), None)
            assert (invoice_status, draft) == (invoice.get("status"), invoice.get("draft"))
            units = {c["iso_code"]: c["subunit_to_unit"] for c in account.currencies.values()}
            assert amount * units[currency] == milestone["amount_in_cents"]
            if invoice:
                assert status == "invoiced"
            elif due is None:
                assert status == "unscheduled"
            else:
                assert status == ("overdue" if due < today else "scheduled")


def test_every_column_is_documented(job: Job) -> None:
    """Each mart has the columns that its file documents, in order and with comments."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
    columns = (
        "select column_name, comment from duckdb_columns() where schema_name = 'kantata_marts' "
        "and table_name = '{}' order by column_index"
        if job.name == "duckdb"
        else "select attname, col_description(attrelid, attnum) from pg_attribute "
        "where attrelid = 'kantata_marts.{}'::regclass and attnum > 0 order by attnum"
    )
    for model in build.marts():
        assert model.about, model.name
        assert dict(job.rows(columns.format(model.name))) == model.columns, model.name
        assert [row[0] for row in job.rows(columns.format(model.name))] == list(model.columns)


@pytest.mark.long_on("duckdb")
def test_amounts_are_read_in_every_notation(job: Job) -> None:
    """The history has whole amounts, even if records write them as 1200.0 or 1e15."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        first, second = open_ids(sandbox.account)[:2]
        sandbox.account.update_milestone(first, amount_in_cents=1200.0)
        sandbox.account.update_milestone(second, amount_in_cents=1e15)
        assert job.sync(sandbox).exit_code == 0
        for table in ("billing_milestones", "billing_milestone_history"):
            rows = job.rows(f"select id, amount_in_cents from kantata_marts.{table}")
            assert dict(rows).items() >= {first: 1200, second: 10**15}.items()


@pytest.mark.long
def test_marts_are_built_only_if_something_changed(job: Job) -> None:
    """A run without changes does not rebuild the marts; on the next day a run rebuilds them."""
    built = "select run_id, as_of from kantata_stg.today"
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        first = job.rows(built)
        job.sync(sandbox, full=False)
        assert job.rows(built) == first
        account.update_milestone(open_ids(account)[0], title="other")
        job.sync(sandbox, full=False)
        second = job.rows(built)
        assert second > first
        account.advance(86_400)
        job.sync(sandbox, full=False)
        assert job.rows(built)[0][1] == second[0][1] + timedelta(days=1)


@pytest.mark.long_on("postgres")
def test_a_date_that_passes_changes_all_marts(job: Job) -> None:
    """A milestone that nobody changed is overdue in every mart on the day after its date."""
    overdue = "select count(*) from kantata_marts.{} where status = 'overdue'"
    with Sandbox(milestones=60) as sandbox:
        job.synced(sandbox)
        before = job.rows(overdue.format("billing_milestones"))
        sandbox.account.advance(60 * 86_400)
        job.sync(sandbox, full=False)
        after = job.rows(overdue.format("billing_milestones"))
        assert after > before
        assert job.rows(overdue.format("milestone_slippage")) == after


def test_altered_marts_are_rebuilt(job: Job) -> None:
    """Rows that somebody removed or altered are right after the next run that builds the marts."""
    with Sandbox(milestones=60) as sandbox:
        job.synced(sandbox)
        before = job.rows(SLIPPAGE)
        job.run("delete from kantata_marts.milestone_slippage where status = 'invoiced'")
        job.run("update kantata_marts.billing_milestone_history set amount_in_cents = 1")
        sandbox.account.update_milestone(open_ids(sandbox.account)[0], title="other")
        assert job.sync(sandbox, full=False).exit_code == 0
        assert job.rows(SLIPPAGE) == before
        assert job.rows(f"{HISTORY} where amount_in_cents = 1") == [(0,)]


@pytest.mark.long
def test_marts_follow_a_run_that_was_killed(job: Job) -> None:
    """Rows that a killed run loaded are in the marts after the next run, which loads none."""
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        id_ = open_ids(account)[0]
        account.update_milestone(id_, title="loaded by the run that died")
        assert died(job, sandbox, Point("warehouse.raw.proof:compare_totals"))
        assert job.sync(sandbox).run.changed == 0
        titles = "select title from kantata_marts.{} where id = '{}' order by 1"
        assert job.rows(titles.format("billing_milestones", id_)) == [
            ("loaded by the run that died",)
        ]
        assert len(job.rows(titles.format("billing_milestone_history", id_))) == 2


@pytest.mark.long
def test_new_columns_are_appended(job: Job) -> None:
    """A mart of an earlier release gets missing columns, and is never dropped."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        job.run("alter table kantata_marts.milestone_slippage drop column amount_moves")
        job.run("alter table kantata_marts.milestone_slippage add column older text")
        job.run("update kantata_stg.today set models = 'of an earlier release'")
        job.sync(sandbox)
        rows = job.rows("select amount_moves, older from kantata_marts.milestone_slippage")
        assert rows == [(0, None)] * 30


TAMPERED = {
    "known_currencies": "delete from kantata.currencies where iso_code = 'USD'",
    "known_projects": "delete from kantata.workspaces",
    "known_invoices": "delete from kantata.invoices",
    "history_ends_at_milestones": "update kantata.billing_milestones set amount_in_cents = "
    "amount_in_cents + 1 where deleted_at is null and date_to_invoice is null",
    "bridge_ends_at_backlog": "update kantata.billing_milestones set amount_in_cents = "
    "amount_in_cents + 1 where invoice_id is null and date_to_invoice is not null",
    "billed_once": "insert into kantata.billing_milestone_invoices (billing_milestone_id, "
    "invoice_id) select m.id, i.id from kantata.billing_milestones m cross join (select id from "
    "kantata.invoices where status = 'accepted payment' and not draft order by id limit 3) i "
    "where m.invoice_id is null",
    "grain_of_billing_milestones": "insert into kantata.billing_milestones (id, amount_in_cents, "
    "currency, workspace_id) select id, 1, 'USD', workspace_id from kantata.billing_milestones",
}
SHORT = ("known_currencies", "bridge_ends_at_backlog", "grain_of_billing_milestones")


@pytest.mark.long_on("postgres")
@pytest.mark.parametrize(
    "check",
    [pytest.param(n, marks=() if n in SHORT else pytest.mark.long) for n in TAMPERED],
)
def test_checks_find_wrong_rows(job: Job, check: str) -> None:
    """Each check finds and names the wrong rows; a blocking one keeps the marts unchanged."""
    with Sandbox(milestones=120) as sandbox:
        job.synced(sandbox)
    before = job.rows("select * from kantata_marts.billing_milestones order by id")
    blocking = check.startswith(("grain", "history", "bridge"))
    message = check
    if check.startswith("grain") and job.name == "postgres":
        message = "is duplicated"  # the message of the unique index
        job.run("drop index kantata.billing_milestones_key")
        job.run("drop index kantata_marts.billing_milestones_0")
        job.run("drop index kantata_marts.milestone_slippage_0")
    job.run(TAMPERED[check])
    with connect(job.target.destination) as database:
        if blocking:
            with pytest.raises(WarehouseChecksFailed, match=message):
                build.build_marts(database, DAY, always=True)
        else:
            warnings = build.build_marts(database, DAY, always=True)
            assert any(f"check {check} finds" in warning for warning in warnings)
            assert check in {finding.check for finding in build.run_checks(database)}
    if blocking:
        assert job.rows("select * from kantata_marts.billing_milestones order by id") == before


@pytest.mark.long_on("postgres")
def test_blocking_checks_of_sums(job: Job) -> None:
    """The checks find marts that do not add up, whichever mart was changed."""
    wrong = {
        "marts_equal_raw": "update kantata_marts.billing_milestones set amount_in_cents = 1",
        "schedule_equals_milestones": "delete from kantata_marts.billing_schedule_monthly",
        "bridge_closes": "update kantata_marts.backlog_bridge set closing = closing + 0.01",
    }
    with Sandbox(milestones=60) as sandbox:
        for check, statement in wrong.items():
            job.synced(sandbox)
            job.run(statement)
            with connect(job.target.destination) as database:
                found = {f.check: f for f in build.run_checks(database)}
                assert found[check].severity is build.Severity.BLOCKING
                assert found[check].rows
                build.build_marts(database, DAY, always=True)
                assert build.run_checks(database) == []


@pytest.mark.long
def test_warning_requires_action_until_it_is_fixed(job: Job) -> None:
    """Every run reports an unknown currency, even a run that builds nothing."""
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        id_ = open_ids(account)[0]
        account.set_raw(id_, "currency", "XTS")
        for full in (True, False):
            result = job.sync(sandbox, full=full)
            assert result.exit_code == 3
            assert any("known_currencies" in warning for warning in result.run.warnings)
        account.clear_raw(id_)
        assert job.sync(sandbox).exit_code == 3  # its history keeps that currency
        job.run("insert into kantata.currencies (iso_code, unit_per_subunit) values ('XTS', 0.01)")
        assert rebuild_marts(job.target) == []
        assert job.sync(sandbox).exit_code == 0


@pytest.mark.parametrize("job", ["duckdb"], indirect=True)
def test_memory_runs_out_while_rows_are_read(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """If memory runs out after the first rows, the error names the setting to change."""
    with Sandbox(milestones=0) as sandbox:
        job.synced(sandbox)
    monkeypatch.setenv("WAREHOUSE__MEMORY_LIMIT", "32MB")
    large = (
        "select repeat('x', case when n < 200000 then 1 else 8000000 end) from range(201000) s (n)"
    )
    with (
        pytest.raises(WarehouseMisconfigured, match="WAREHOUSE__MEMORY_LIMIT"),
        connect(job.target.destination) as database,
    ):
        for _ in database.batches(large):
            pass
