"""The commands of the production page back up, restore and move; the job continues."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from pathlib import Path
from threading import Timer

import psycopg2
import pytest

from pipelines.runtime.clock import utc_now
from sources.kantata_sandbox import Sandbox
from tests.support.equality import assert_equal
from tests.support.job import Job
from tests.support.kill_points import DIED
from tests.support.postgres import binaries, empty_database
from tests.support.processes import run_milestones, start_function, start_milestones
from tests.support.sampling import sample
from tests.support.writing_desk import Desk
from warehouse.errors import WarehouseMoved
from warehouse.ledger.change import Action, Change, Event, Status
from warehouse.ledger.connection import connect_ledger

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "pipelines" / "PRODUCTION.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
VERSIONS = (
    "select id, version, change_type, raw, observed_at from kantata.billing_milestone_versions "
    "order by id, version"
)
MART = "select id, amount, status, project from kantata_marts.billing_milestones order by id"


def commands(word: str) -> str:
    """Return the block of the page that contains this word."""
    (block,) = (block for block in BLOCKS if word in block)
    return block.replace(".venv/bin/milestones", f"{sys.executable} -m pipelines.cli")


def shell(script: str) -> None:
    """Run the commands of the page unchanged, one after another."""
    path = f"{binaries()}:{os.environ['PATH']}"
    for line in script.splitlines():
        if found := re.fullmatch(r'sqlite3 -readonly (\S+) "(.+)"', line):  # by Python's SQLite
            connection = sqlite3.connect(f"file:{found[1]}?mode=ro", uri=True)
            connection.execute(found[2])
            connection.close()
            continue
        result = subprocess.run(
            ["sh", "-e", "-c", line], env=os.environ | {"PYTHONPATH": str(ROOT), "PATH": path},
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """An account with an undeclared field."""
    with Sandbox(milestones=60) as sandbox:
        sandbox.account.add_field("department", "ERP")
        yield sandbox


def with_history(job: Job, sandbox: Sandbox) -> tuple[Desk, Change, Change]:
    """Make a warehouse with versions, and a ledger with a pushed and an approved change."""
    account = sandbox.account
    job.synced(sandbox)
    first, second, third = list(account.milestones)[:3]
    account.silently_update_milestone(first, amount_in_cents=7)
    account.delete_milestone(second)
    account.set_raw(third, "amount_in_cents", "12.50")
    job.sync(sandbox)
    desk = Desk(sandbox, job.target.ledger_url)
    done = desk.approved(desk.draft(Action.CREATE))
    desk.push()
    left = desk.approved(desk.draft(Action.UPDATE))
    job.sync(sandbox)
    return desk, done, left


def check_job_continues(job: Job, sandbox: Sandbox, desk: Desk, left: Change) -> None:
    """Check that a sync finds later changes, and that the approved change is pushed."""
    account = sandbox.account
    rejected = {i for i in account.milestones if account.milestone(i)["amount_in_cents"] == "12.50"}
    account.update_milestone(list(account.milestones)[5], title="after")
    result = job.sync(sandbox, full=False)
    assert result.run.mode == "feed"
    assert result.run.changed == 1
    assert_equal(job, account, rejected)
    desk.push()
    assert desk.assert_true(left).status is Status.APPLIED


@pytest.mark.long
def test_backup_is_restored_on_an_empty_machine(
    job: Job, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    """After the page's commands versions and ledger are complete; the job continues by the feed."""
    desk, done, left = with_history(job, sandbox)
    versions = job.rows(VERSIONS)
    machine = tmp_path / "another machine"
    machine.mkdir()
    with ExitStack() as stack:
        if job.url:
            shell(commands("pg_dump"))
            shutil.copy("backup.dump", machine)
            server = request.getfixturevalue("postgres_server")
            job.url = stack.enter_context(empty_database(server))
            monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", job.url)
            monkeypatch.chdir(machine)
            shell(commands("pg_restore"))
        else:
            shell(commands("vacuum into"))
            shutil.move("backup", machine)
            monkeypatch.chdir(machine)
            shell(commands("install -m 600"))
        desk.url = job.target.ledger_url
        assert job.rows(VERSIONS) == versions
        assert desk.assert_true(done).status is Status.APPLIED
        check_job_continues(job, sandbox, desk, left)


def test_moving_to_postgres_takes_everything(
    sandbox: Sandbox, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions, runs, raw rows, marts and ledger are equal after a move; a second is refused."""
    monkeypatch.setenv("KANTATA_API_URL", sandbox.url)
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", sandbox.token)
    old = Job("duckdb")
    desk, done, left = with_history(old, sandbox)
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres_url)
    export, *rest = commands("milestones move").splitlines()
    assert export.startswith("export DESTINATION__POSTGRES__CREDENTIALS=postgresql://")
    monkeypatch.setenv("PUSH__ENABLED", "false")
    words = rest[0].partition("pipelines.cli ")[2].split()
    moved = run_milestones(*words, env=os.environ)
    assert moved.returncode == 0, moved.stderr
    new = Job("postgres", postgres_url)
    desk.url = new.target.ledger_url
    runs = "select run_id, status, mode, totals from kantata.sync_runs order by run_id"
    raw = "select id, amount_in_cents, department from kantata.billing_milestones order by id"
    for sql in (VERSIONS, runs, raw, MART):
        assert new.rows(sql) == old.rows(sql)
    assert desk.assert_true(done).status is Status.APPLIED
    left_behind = {path.name for path in Path(".milestones").glob("ledger.sqlite*")}
    assert left_behind == {"ledger.sqlite.lock", "ledger.sqlite.moved"}
    check_job_continues(new, sandbox, desk, left)
    again = run_milestones(*words, env=os.environ)
    assert again.returncode == 2
    assert "holds a warehouse already" in again.stderr
    assert "continue with: WAREHOUSE__DESTINATION=postgres" in again.stderr
    for words in (("sync",), ("changes",), ("status", "--json")):
        refused = run_milestones(*words, env=os.environ)
        assert refused.returncode == 2
        assert "was moved to Postgres (127.0.0.1/" in refused.stderr + refused.stdout
        assert "set WAREHOUSE__DESTINATION=postgres" in refused.stderr + refused.stdout
    shutil.rmtree(".milestones")
    assert run_milestones("sync", env=os.environ).returncode == 2  # it is not made again
    there = run_milestones("changes", env=os.environ | {"WAREHOUSE__DESTINATION": "postgres"})
    assert there.returncode == 0


def move_to(url: str) -> subprocess.CompletedProcess[str]:
    """Move the DuckDB warehouse of this folder to a Postgres database."""
    return run_milestones("move", env=os.environ | {"DESTINATION__POSTGRES__CREDENTIALS": url})


def with_open_changes(job: Job, sandbox: Sandbox) -> tuple[Desk, Change, Change]:
    """Make a warehouse, and a ledger with an approved and a proposed change."""
    job.synced(sandbox)
    desk = Desk(sandbox, job.target.ledger_url)
    return desk, desk.approved(desk.draft(Action.UPDATE)), desk.proposed(desk.draft(Action.DELETE))


def ledger_state(url: str) -> tuple[list[Change], list[Event]]:
    """Return all changes and events of a ledger."""
    with connect_ledger(url, utc_now) as ledger:
        return ledger.changes(), ledger.events()


def test_decisions_during_a_move_are_refused(
    sandbox: Sandbox, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A person who opened the ledger before it is renamed never decides on the file left behind."""
    monkeypatch.setenv("KANTATA_API_URL", sandbox.url)
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", sandbox.token)
    desk, approved, proposed = with_open_changes(Job("duckdb"), sandbox)
    before = ledger_state(desk.url)
    assert ledger_state(postgres_url) == ([], [])  # creates the ledger's tables, to lock one
    environment = os.environ | {"DESTINATION__POSTGRES__CREDENTIALS": postgres_url}
    with closing(psycopg2.connect(postgres_url)) as holder, desk.ledger() as ledger:
        holder.cursor().execute("lock table kantata_ledger.events in exclusive mode")
        process = start_milestones("move", env=environment)
        wait_for_lock(postgres_url)
        release = Timer(0.5, holder.rollback)
        release.start()
        try:
            with pytest.raises(WarehouseMoved, match="was moved to Postgres, so nothing was done"):
                ledger.transition(approved, Status.WITHDRAWN, who="ann", what="no more")
        finally:
            release.join()
        _, log = process.communicate(timeout=60)
        assert process.returncode == 0, log
        with pytest.raises(WarehouseMoved):
            ledger.approve(proposed, "bob")
    assert ledger_state(postgres_url) == before
    assert {path.name for path in Path(".milestones").glob("ledger.sqlite*")} == {
        "ledger.sqlite.lock",
        "ledger.sqlite.moved",
    }
    Path(".milestones/ledger.sqlite.moved").rename(".milestones/ledger.sqlite")
    assert run_milestones("withdraw", approved.change_id, env=os.environ).returncode == 0


def wait_for_lock(url: str) -> None:
    """Wait until a process waits for a lock in a database."""
    query = (
        "select from pg_locks join pg_database d on d.oid = database "
        "where not granted and datname = current_database()"
    )
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        deadline = time.monotonic() + 60
        while True:
            cursor.execute(query)
            if cursor.fetchone() is not None:
                return
            assert time.monotonic() < deadline
            time.sleep(0.02)


@pytest.mark.long
def test_a_move_after_a_rehearsal_takes_the_ledger(
    sandbox: Sandbox, postgres_url: str, postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rehearsal renames the ledger; a later move never ignores or overwrites it."""
    monkeypatch.setenv("KANTATA_API_URL", sandbox.url)
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", sandbox.token)
    desk, *_ = with_open_changes(Job("duckdb"), sandbox)
    file, kept = Path(".milestones/ledger.sqlite"), Path(".milestones/ledger.sqlite.moved")
    before = ledger_state(desk.url)
    assert move_to(postgres_url).returncode == 0
    renamed = kept.read_bytes()
    with empty_database(postgres_server) as real:
        left = move_to(real)
        assert (left.returncode, left.stdout) == (2, "")
        assert f"mv '{kept}' '{file}'" in left.stderr
        assert move_to(postgres_url).returncode == 0  # this database has it already
        refused = run_milestones("changes", env=os.environ)
        assert f"mv '{kept.absolute()}' '{file.absolute()}'" in refused.stderr
        another = desk.proposed(desk.draft(Action.UPDATE))
        two = move_to(real)
        assert (two.returncode, two.stdout) == (2, "")
        assert f"two ledgers: {file}, and {kept} of an earlier move" in two.stderr
        assert desk.change(another) == another
        assert kept.read_bytes() == renamed
        kept.replace(file)
        assert run_milestones("changes", env=os.environ).returncode == 0
        assert move_to(real).returncode == 0
        assert ledger_state(real) == before
        assert not file.exists()


@pytest.mark.long
@pytest.mark.parametrize("where", ["here", "there", "both"])
def test_ledger_changes_after_an_interrupted_move_are_kept(
    sandbox: Sandbox, postgres_url: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The next move updates the older ledger; if both changed, a person must decide."""
    monkeypatch.setenv("KANTATA_API_URL", sandbox.url)
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", sandbox.token)
    desk, approved, proposed = with_open_changes(Job("duckdb"), sandbox)
    interrupt_move(postgres_url, "pipelines.ops.migrate:_retire")
    old, file = desk.url, Path(".milestones/ledger.sqlite")
    for url in {"here": [old], "there": [postgres_url], "both": [old, postgres_url]}[where]:
        desk.url = url
        with desk.ledger() as ledger:
            ledger.approve(desk.change(proposed), "bob")
            ledger.transition(desk.change(approved), Status.WITHDRAWN, who="ann", what="no more")
            for _ in range(2):  # first for the milestone with the approved change
                draft = replace(desk.draft(Action.UPDATE), milestone_id=approved.milestone_id)
                (change_id,) = ledger.propose([draft])
                ledger.transition(
                    ledger.change(change_id), Status.REJECTED, who="bob", what="nor this"
                )
            ledger.propose([draft])
    expected = ledger_state(desk.url)
    result = move_to(postgres_url)
    if where == "both":
        assert result.returncode == 1
        assert f"{file} was not moved" in result.stderr
        assert ledger_state(old) != ledger_state(postgres_url) == expected
        return
    assert result.returncode == 0, result.stderr
    assert ledger_state(postgres_url) == expected
    assert not file.exists()
    desk.url = postgres_url
    desk.proposed(desk.draft(Action.CREATE))  # fails if a number is reused


def interrupt_move(url: str, function: str) -> None:
    """Run a move that is killed where a function begins."""
    environment = os.environ | {"DESTINATION__POSTGRES__CREDENTIALS": url}
    process = start_function("tests.support.kill_points:move_until", function, env=environment)
    _, log = process.communicate()
    assert process.returncode == DIED, (function, log)


@pytest.mark.parametrize("every", [6, pytest.param(1, marks=pytest.mark.long)], ids=["one", "all"])
@pytest.mark.long
def test_an_interrupted_move_can_be_repeated(
    sandbox: Sandbox, postgres_url: str, monkeypatch: pytest.MonkeyPatch, every: int
) -> None:
    """A move killed before, during or after its copies can be run again."""
    old = Job("duckdb")
    desk, done, left = with_history(old, sandbox)
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres_url)
    points = [
        "dlt.load.load:Load.complete_package",
        "pipelines.ops.migrate:_migrate_ledger",
        "warehouse.ledger.transfer:transfer_ledger",
        "pipelines.ops.migrate:_retire",  # the ledger is copied, not yet renamed
        "warehouse.raw.export:copy_by_sql",
        "warehouse.models.build:build_marts",  # all but the marts is copied
    ]
    for point in sample(points, every).items:
        interrupt_move(postgres_url, point)
    old.sync(sandbox)  # a schedule that was not stopped
    shell("\n".join(commands("milestones move").splitlines()[1:2]))
    new = Job("postgres", postgres_url)
    desk.url = new.target.ledger_url
    assert new.rows(VERSIONS) == old.rows(VERSIONS)
    assert new.rows(MART) == old.rows(MART)
    assert desk.assert_true(done).status is Status.APPLIED
    check_job_continues(new, sandbox, desk, left)
