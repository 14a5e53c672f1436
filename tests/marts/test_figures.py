"""Figures stay correct when the account, a run or the warehouse behaves unusually."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from email.utils import format_datetime
from typing import Any

import pytest

from pipelines.config.settings import kantata_settings
from pipelines.ops.marts import rebuild_marts
from pipelines.runtime.observer import RunObserver
from pipelines.sync.options import SyncOptions
from pipelines.sync.pipeline import sync
from pipelines.sync.session import locked
from sources.kantata_sandbox import Account, Sandbox
from tests.support.accounts import open_ids
from tests.support.altered import altered
from tests.support.job import Job
from tests.support.kill_points import Point, died
from warehouse import mart_queries
from warehouse.database import connect
from warehouse.errors import WarehouseChecksFailed, WarehouseError
from warehouse.models import build
from warehouse.reader import open_reader

DAY = build.BuildContext(run_id="run", as_of=date(2026, 11, 20), timezone="Europe/Berlin")
BRIDGE = "select * from kantata_marts.backlog_bridge order by currency, month"
MOVES = "select sum(date_moves), sum(amount_moves) from kantata_marts.milestone_slippage"
LINE = (
    "select new, increased, decreased, invoiced, deleted from kantata_marts.backlog_bridge "
    "where currency = '{}'"
)


def dated(account: Account, currency: str = "USD") -> dict[str, Any]:
    """A milestone of the backlog."""
    candidates = (account.milestones[id_] for id_ in open_ids(account))
    return next(m for m in candidates if m["date_to_invoice"] and m["currency"] == currency)


@pytest.mark.parametrize(
    "field",
    [
        pytest.param("date_to_invoice", marks=pytest.mark.long_on("postgres")),
        pytest.param("invoice_id", marks=pytest.mark.long),
        pytest.param("title", marks=pytest.mark.long),
    ],
)
def test_absent_field_moves_nothing(job: Job, field: str) -> None:
    """A temporarily missing field changes nothing in the bridge, the history or the slippage."""
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        before = job.rows(BRIDGE), job.rows(MOVES)
        changed = dated(account)["id"]
        account.remove_field(field)
        job.sync(sandbox)
        assert (job.rows(BRIDGE), job.rows(MOVES)) == before
        # Also for a single milestone whose history is rebuilt.
        account.update_milestone(changed, billing_type="fixed_date", story_id="7")
        job.sync(sandbox, full=False)
        assert (job.rows(BRIDGE), job.rows(MOVES)) == before
        account.restore_field(field)
        assert job.sync(sandbox).exit_code == 0
        assert (job.rows(BRIDGE), job.rows(MOVES)) == before
        moved = (
            f"select count(*) from kantata_marts.billing_milestone_history where {field} is null"
            f" and id in (select id from kantata.billing_milestones where {field} is not null)"
        )
        assert job.rows(moved) == [(0,)]


@pytest.mark.long_on("duckdb")
def test_nul_in_a_field_nobody_declared(job: Job) -> None:
    r"""A NUL, which Postgres cannot store, stops no run; \\u0000 in a title is not a NUL."""
    title = "two backslashes \\\\u0000, one \\u0000"
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        id_ = open_ids(account)[0]
        account.set_raw(id_, "custom_note", "a\0b\\\0")
        account.set_raw(id_, "title", title)
        assert job.sync(sandbox).exit_code == 0
        found = job.rows(
            "select title from kantata_marts.billing_milestone_history "
            f"where id = '{id_}' and valid_to is null"
        )
        assert found == [(title,)]


@pytest.mark.long_on("postgres")
def test_version_that_cannot_be_read(job: Job) -> None:
    """An invalid version from before warehouse version 3 fails the build with a message."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
    job.run(
        "update kantata.billing_milestone_versions set raw = 'no JSON', amount_in_cents = null "
        "where id = (select min(id) from kantata.billing_milestones)"
    )
    with pytest.raises(WarehouseChecksFailed, match="cannot be converted") as raised:
        rebuild_marts(job.target)
    assert raised.value.exit_code == 1


@pytest.mark.long_on("postgres")
def test_unproven_rows_are_not_built(job: Job) -> None:
    """Rows of a killed run are neither built nor published, nor counted in data_freshness."""
    counts = "select milestones, last_run_status from kantata_marts.data_freshness"
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        before = job.rows(BRIDGE)
        account.create_milestone(title="loaded by the run that died")
        assert died(job, sandbox, Point("warehouse.raw.proof:compare_totals"))
        with pytest.raises(WarehouseError, match="milestones sync` first"):
            rebuild_marts(job.target)
        assert job.rows(BRIDGE) == before
        assert job.rows(counts) == [(60, "running")]
        job.sync(sandbox)
        assert rebuild_marts(job.target) == []
        assert job.rows(counts) == [(61, "proven")]


def test_lock_that_is_lost_before_the_marts(
    postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that lost its lock after loading builds nothing, since another run may hold it."""
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres_url)
    monkeypatch.setenv("KANTATA_API_URL", "")
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", "")
    job = Job("postgres", postgres_url)
    built = "select count(*) from kantata_marts.billing_milestones"

    def end_the_lock(phase: str) -> None:
        if phase == "building marts":
            job.run(
                "select pg_terminate_backend(pid, 5000) from pg_locks "
                "where locktype = 'advisory' and database = "
                "(select oid from pg_database where datname = current_database())"
            )

    with Sandbox(milestones=60) as sandbox:
        job.synced(sandbox)
        sandbox.account.create_milestone(title="new")
        with pytest.raises(WarehouseError) as raised, locked(job.target) as lock:
            sync(kantata_settings(), lock, SyncOptions(full=True), RunObserver(phase=end_the_lock))
        assert raised.value.exit_code == 75
        assert job.rows(built) == [(60,)]
        job.sync(sandbox)
        assert job.rows(built) == [(61,)]


@pytest.mark.long
def test_rejects_are_counted_though_nothing_is_built(job: Job) -> None:
    """data_freshness counts a rejected record until it is good again."""
    rejected = "select rejected_records, models_run_id from kantata_marts.data_freshness"
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        id_ = open_ids(account)[0]
        built = job.rows(rejected)[0][1]
        account.set_raw(id_, "amount_in_cents", "12.50")
        job.sync(sandbox)
        assert job.rows(rejected) == [(1, built)]
        account.clear_raw(id_)
        job.sync(sandbox)
        assert job.rows(rejected) == [(0, built)]


@pytest.mark.long_on("postgres")
def test_invoiced_is_what_was_billed(job: Job) -> None:
    """Invoiced is net: with a changed amount, after a cancellation, or invoiced when first read."""
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        milestone = dated(account)
        id_, amount = milestone["id"], milestone["amount_in_cents"]
        job.synced(sandbox)
        (opened_with, *_) = job.rows(LINE.format("USD"))[0]
        account.update_milestone(id_, amount_in_cents=amount + 100)
        invoice = account.invoice_milestone(id_)
        job.sync(sandbox, full=False)
        billed = (amount + 100) * Decimal("0.01")
        assert job.rows(LINE.format("USD")) == [(opened_with, 1, 0, billed, 0)]
        account.cancel_invoice(invoice)
        job.sync(sandbox, full=False)
        assert job.rows(LINE.format("USD")) == [(opened_with, 1, 0, 0, 0)]
        account.invoice_milestone(id_)
        new = account.create_milestone(title="new", amount_in_cents=7_777, currency="USD")
        account.invoice_milestone(new)
        assert job.sync(sandbox, full=False).run.warnings == []
        currency = account.milestones[new]["currency"]
        assert currency == "USD"
        added = Decimal("77.77")
        expected = (opened_with + added, 1, 0, billed + added, 0)
        assert job.rows(LINE.format("USD")) == [expected]


@pytest.mark.long_on("postgres")
@pytest.mark.parametrize(
    "ahead", [pytest.param(20, id="ahead", marks=pytest.mark.long), pytest.param(-20, id="behind")]
)
def test_machine_whose_clock_is_wrong(job: Job, ahead: int) -> None:
    """What the first scan found is stock, and what came later is new, by the clock of observations.

    That clock follows Kantata's, which may differ by minutes from the machine's.
    """
    job.now = lambda: datetime.now(UTC) + timedelta(minutes=ahead)
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.sync(sandbox)
        (stock,) = job.rows(LINE.format("USD"))
        account.advance(600)
        account.invoice_milestone(account.create_milestone(amount_in_cents=12_300, currency="USD"))
        job.sync(sandbox, full=False)
    assert job.rows(LINE.format("USD")) == [(stock[0] + 123, 0, 0, 123, 0)]
    with open_reader(job.target) as reader:
        long_ago = datetime(2000, 1, 1, tzinfo=UTC)
        (total,) = mart_queries.change_totals(reader, since=long_ago)
    assert (total.kind, total.versions, total.net) == ("new", 1, 123)


@pytest.mark.long
def test_run_that_observed_a_restatement(job: Job) -> None:
    """A restatement names the run that read the change, also if Kantata's clock is ahead.

    The month is frozen by SQL, since the present one cannot be closed.
    """
    with Sandbox(milestones=10) as sandbox, altered(sandbox) as between:
        milestone = dated(sandbox.account)
        id_, day = milestone["id"], date.fromisoformat(milestone["date_to_invoice"])
        between.date = format_datetime(datetime.now(UTC) + timedelta(seconds=30), usegmt=True)
        closed = job.sync(between).run.run_id
        job.run(
            f"insert into kantata.period_closes values (1, '{day.replace(day=1)}', 'kim', now(), "
            f"'{closed}', (select max(valid_from) from kantata_marts.billing_milestone_history), "
            "'UTC', 'x', null);"
            "insert into kantata.period_close_milestones select 1, id, client_id, client, "
            "currency, amount_in_cents, amount, date_to_invoice, status, invoice_id, invoice_date, "
            f"invoice_state from kantata_marts.billing_milestones where id = '{id_}'"
        )
        sandbox.account.update_milestone(id_, amount_in_cents=4242)
        changed = job.sync(between).run.run_id
        job.sync(between)
    found = (
        "select observed_run_id from kantata_marts.period_restatements where milestone_id = '{}'"
    )
    assert job.rows(found.format(id_)) == [(changed,)]


@pytest.mark.long_on("postgres")
def test_deletion_of_a_milestone_that_was_never_read(job: Job) -> None:
    """A first version that is only a deletion adds no line without a currency."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
    before = job.rows(BRIDGE)
    job.run(
        "insert into kantata.billing_milestone_versions (id, version, change_type, observed_at) "
        "values ('77', 1, 'deleted', timestamptz '2026-11-20 12:00:00+00'), "
        "('78', 1, 'deleted', timestamptz '2026-11-20 12:00:00+00')"
    )
    job.run(
        "insert into kantata.billing_milestones (id, amount_in_cents, currency, workspace_id, "
        "deleted_at) values ('77', 1, 'USD', '1', timestamptz '2026-11-20 12:00:00+00')"
    )
    assert rebuild_marts(job.target) == []
    assert job.rows(BRIDGE) == before


@pytest.mark.long
def test_lost_mart_is_made_again(job: Job) -> None:
    """A dropped mart is made again by the next run, even if nothing changed."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        before = job.rows("select * from kantata_marts.billing_forecast order by month, currency")
        job.run("drop table kantata_marts.billing_forecast")
        job.sync(sandbox)
        job.run("drop view kantata_marts.data_freshness")
        assert rebuild_marts(job.target) == []
        after = job.rows("select * from kantata_marts.billing_forecast order by month, currency")
        assert before == after
        assert len(job.rows("select * from kantata_marts.data_freshness")) == 1


@pytest.mark.long_on("duckdb")
def test_tables_of_an_earlier_release(job: Job) -> None:
    """Tables of an earlier release get missing columns, without the right to temporary tables."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        if job.name == "postgres":
            job.run(f"revoke temporary on database {job.url.rpartition('/')[2]} from public")
            job.run("drop view kantata_marts.data_freshness")
            job.run("drop view kantata_stg.billing_milestones")
            job.run("create view kantata_stg.billing_milestones as select 1 as other")
        job.run("alter table kantata_stg.today drop column rejected_records")
        job.run("alter table kantata_marts.backlog_bridge drop column closing")
        assert job.sync(sandbox).exit_code == 0
        assert len(job.rows("select rejected_records from kantata_marts.data_freshness")) == 1
        types = job.rows(
            "select distinct data_type from information_schema.columns where table_schema = "
            "'kantata_marts' and table_name = 'backlog_bridge' and column_name in "
            "('closing', 'opening')"
        )
        assert len(types) == 1


@pytest.mark.long_on("duckdb")
def test_first_reported_row_is_always_the_same(job: Job) -> None:
    """Which of many wrong rows is reported does not depend on the order of storage."""
    with Sandbox(milestones=60) as sandbox:
        job.synced(sandbox)
    findings = []
    for order in ("asc", "desc"):
        job.run("create table kantata.kept as select * from kantata_marts.billing_milestones")
        job.run("delete from kantata_marts.billing_milestones")
        job.run(
            "insert into kantata_marts.billing_milestones select * from kantata.kept "
            f"order by id {order}"
        )
        job.run("drop table kantata.kept")
        job.run("delete from kantata.workspaces")
        with connect(job.target.destination) as database:
            findings.append(
                [str(f) for f in build.run_checks(database) if f.check == "known_projects"]
            )
    assert findings[0] == findings[1] != [[]]


DUPLICATE = (
    "insert into kantata.billing_milestone_invoices (billing_milestone_id, invoice_id) "
    "select m.id, i.id from kantata_marts.billing_milestones m cross join kantata.invoices i "
    "where i.status <> 'cancelled' and m.invoice_id is null"
)
# Each check, and the changes to the warehouse that it must find.
TAMPERED = {
    "history_ends_at_milestones": (
        "update kantata_marts.billing_milestone_history set change_type = 'deleted' "
        "where id = (select min(id) from kantata_marts.billing_milestones) and valid_to is null",
        "delete from kantata.billing_milestones where id = (select min(id) from "
        "kantata_marts.billing_milestones where status = 'invoiced')",
        "delete from kantata_marts.billing_milestone_history "
        "where id = (select min(id) from kantata_marts.billing_milestones)",
    ),
    "history_has_amounts": (
        "update kantata_marts.billing_milestone_history set currency = null where version = 1",
        "update kantata_marts.billing_milestone_history set amount_in_cents = null",
    ),
    "bridge_ends_at_backlog": (
        "update kantata_marts.billing_backlog set amount = amount + 0.01 where currency = 'USD'",
        "delete from kantata_marts.backlog_bridge",
    ),
    "bridge_closes": (
        "update kantata_marts.backlog_bridge set invoiced = null",
        "update kantata_marts.backlog_bridge set closing = null, opening = null, new = null",
    ),
    "forecast_equals_backlog": (
        "delete from kantata_marts.billing_forecast where currency = 'USD'",
        "update kantata_marts.billing_backlog set subunits = subunits + 1",
    ),
    "schedule_equals_milestones": ("delete from kantata_marts.billing_schedule_monthly",),
    "slippage_equals_milestones": (
        "delete from kantata_marts.milestone_slippage where status = 'invoiced'",
        "update kantata_marts.milestone_slippage set status = 'overdue' where status = 'scheduled'",
    ),
    "marts_equal_raw": ("delete from kantata_marts.billing_milestones where status = 'invoiced'",),
    "known_tasks": ("delete from kantata.stories",),
    "known_projects": ("delete from kantata.workspaces",),
    "known_invoices": ("delete from kantata.invoices",),
    "known_currencies": (
        "update kantata_marts.billing_milestone_history set amount = null where version = 1",
        "update kantata_marts.billing_milestones set amount = null",
    ),
    "billed_once": (
        DUPLICATE,
        f"{DUPLICATE}; update kantata.invoices set status = null, draft = null",
    ),
    "grain_of_data_freshness": ("delete from kantata_stg.today",),
}
BLOCKING = {"history", "bridge", "forecast", "schedule", "slippage", "marts", "grain"}


@pytest.mark.long_on("postgres")
def test_each_check_can_fire(job: Job) -> None:
    """Each check finds its kind of error; checks for wrong figures are blocking."""
    with Sandbox(milestones=60) as sandbox:
        job.synced(sandbox)
    assert {c.name for c in build.checks() if not c.name.startswith("grain")} <= TAMPERED.keys()
    for check, statements in TAMPERED.items():
        for statement in statements:
            with connect(job.target.destination) as database:
                database.execute("begin transaction")
                database.execute(statement)
                found = {finding.check: finding for finding in build.run_checks(database)}
                database.execute("rollback")
            assert check in found, (check, statement)
            blocking = found[check].severity is build.Severity.BLOCKING
            assert blocking == (check.partition("_")[0] in BLOCKING)


@pytest.mark.long_on("duckdb")
def test_grain_of_each_relation(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each table and view has a check of its grain, which finds a duplicated row."""
    monkeypatch.setenv("WAREHOUSE__REPORTING_CURRENCY", "EUR")  # else some have no rows
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
    relations = [*(m for m in build.staging() if m.kind != "step"), *build.marts()]
    relations = [m for m in relations if m.name != "period_restatements"]  # its query groups by it
    assert {f"grain_of_{r.name}" for r in relations} <= {c.name for c in build.checks()}
    tables = [model for model in build.marts() if model.kind != "view"]
    with connect(job.target.destination) as database:
        database.execute("begin transaction")
        for model in tables:
            if job.name == "postgres":
                database.execute(f"drop index kantata_marts.{model.name}_0")
            row = f"(select * from kantata_marts.{model.name} limit 1)"
            database.execute(f"insert into kantata_marts.{model.name} {row}")
        found = {finding.check for finding in build.run_checks(database)}
        database.execute("rollback")
    assert {f"grain_of_{model.name}" for model in tables} <= found
