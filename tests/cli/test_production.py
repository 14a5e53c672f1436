"""The production page is true: its commands back up, restore and move, and the job goes on."""

from __future__ import annotations

import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest

from pipelines.runtime.clock import utc_now
from sources.kantata_sandbox import Sandbox
from tests.support.equality import assert_equal
from tests.support.job import Job
from tests.support.postgres import binaries, empty_database
from tests.support.processes import run_milestones, start_function
from tests.support.writing_desk import Desk
from warehouse.ledger.change import Action, Change, Event, Status
from warehouse.ledger.store import connect_ledger

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "pipelines" / "PRODUCTION.md").read_text()
BLOCKS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
VERSIONS = (
    "select id, version, change_type, raw, observed_at from kantata.billing_milestone_versions "
    "order by id, version"
)
MART = "select id, amount, status, project from kantata_marts.billing_milestones order by id"


def commands(word: str) -> str:
    """The block of the page that has this word."""
    (block,) = (block for block in BLOCKS if word in block)
    return block.replace(".venv/bin/milestones", f"{sys.executable} -m pipelines.cli")


def shell(script: str) -> None:
    """Run commands as they stand on the page, one after another."""
    path = f"{binaries()}:{os.environ['PATH']}"
    for line in script.splitlines():
        if found := re.fullmatch(r'sqlite3 (\S+) "(.+)"', line):  # by another SQLite client
            connection = sqlite3.connect(found[1])
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
    """An account with some past."""
    with Sandbox(milestones=60) as sandbox:
        sandbox.account.add_field("department", "ERP")
        yield sandbox


def with_past(job: Job, sandbox: Sandbox) -> tuple[Desk, Change, Change]:
    """A warehouse with versions; a ledger with a change that was pushed and one that was not."""
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


def goes_on(job: Job, sandbox: Sandbox, desk: Desk, left: Change) -> None:
    """Later changes are found, and what was approved is pushed."""
    account = sandbox.account
    rejected = {i for i in account.milestones if account.milestone(i)["amount_in_cents"] == "12.50"}
    account.update_milestone(list(account.milestones)[5], title="after")
    result = job.sync(sandbox, full=False)
    assert result.run.mode == "feed"
    assert result.run.changed == 1
    assert_equal(job, account, rejected)
    desk.push()
    assert desk.assert_true(left).status is Status.APPLIED


def test_backup_is_restored_on_an_empty_machine(
    job: Job, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    """With the page's commands; versions and ledger are there, and the job goes on by the feed."""
    desk, done, left = with_past(job, sandbox)
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
            shell(commands("cp backup/ledger.sqlite"))
        desk.url = job.target.ledger_url
        assert job.rows(VERSIONS) == versions
        assert desk.assert_true(done).status is Status.APPLIED
        goes_on(job, sandbox, desk, left)


def test_moving_to_postgres_takes_everything_along(
    sandbox: Sandbox, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Versions, runs, rejects and ledger; marts are equal; a second move is refused."""
    monkeypatch.setenv("KANTATA_API_URL", sandbox.url)
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", sandbox.token)
    old = Job("duckdb")
    desk, done, left = with_past(old, sandbox)
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres_url)
    export, *rest = commands("milestones move").splitlines()
    assert export.startswith("export DESTINATION__POSTGRES__CREDENTIALS=postgresql://")
    monkeypatch.setenv("PUSH__ENABLED", "false")
    shell(rest[0])
    new = Job("postgres", postgres_url)
    desk.url = new.target.ledger_url
    runs = "select run_id, status, mode, totals from kantata.sync_runs order by run_id"
    raw = "select id, amount_in_cents, department from kantata.billing_milestones order by id"
    for sql in (VERSIONS, runs, raw, MART):
        assert new.rows(sql) == old.rows(sql)
    assert desk.assert_true(done).status is Status.APPLIED
    assert not Path(".milestones/ledger.sqlite").exists()
    goes_on(new, sandbox, desk, left)
    again = subprocess.run(
        ["sh", "-c", rest[0]], env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert again.returncode == 2
    assert "holds a warehouse already" in again.stderr
    assert "go on there: milestones run --destination postgres" in again.stderr


def moved_to(url: str) -> subprocess.CompletedProcess[str]:
    """Move the DuckDB warehouse of this folder to a database."""
    return run_milestones("move", env=os.environ | {"DESTINATION__POSTGRES__CREDENTIALS": url})


def small_past(job: Job, sandbox: Sandbox) -> tuple[Desk, Change, Change]:
    """A warehouse; a ledger with a change that was approved and one that was only proposed."""
    job.synced(sandbox)
    desk = Desk(sandbox, job.target.ledger_url)
    return desk, desk.approved(desk.draft(Action.UPDATE)), desk.proposed(desk.draft(Action.DELETE))


def state(url: str) -> tuple[list[Change], list[Event]]:
    """All that a ledger holds."""
    with connect_ledger(url, utc_now) as ledger:
        return ledger.changes(), ledger.events()


def test_a_move_after_a_rehearsal_takes_the_ledger_along_too(
    sandbox: Sandbox, postgres_url: str, postgres_server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was put away by the rehearsal: never left behind in silence, never overwritten."""
    monkeypatch.setenv("KANTATA_API_URL", sandbox.url)
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", sandbox.token)
    desk, *_ = small_past(Job("duckdb"), sandbox)
    file, kept = Path(".milestones/ledger.sqlite"), Path(".milestones/ledger.sqlite.moved")
    held = state(desk.url)
    assert moved_to(postgres_url).returncode == 0
    put_away = kept.read_bytes()
    with empty_database(postgres_server) as real:
        left = moved_to(real)
        assert (left.returncode, left.stdout) == (2, "")
        assert f"mv '{kept}' '{file}'" in left.stderr
        assert moved_to(postgres_url).returncode == 0  # that one holds it
        another = desk.proposed(desk.draft(Action.UPDATE))
        two = moved_to(real)
        assert (two.returncode, two.stdout) == (2, "")
        assert f"two ledgers, {file} and {kept}" in two.stderr
        assert desk.change(another) == another
        assert kept.read_bytes() == put_away
        kept.replace(file)
        assert moved_to(real).returncode == 0
        assert state(real) == held
        assert not file.exists()


@pytest.mark.parametrize("where", ["here", "there", "both"])
def test_what_happens_to_the_ledger_after_a_move_was_cut_off_is_not_lost(
    sandbox: Sandbox, postgres_url: str, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    """The copy that is there is brought up to date; if both went on, a person decides."""
    monkeypatch.setenv("KANTATA_API_URL", sandbox.url)
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", sandbox.token)
    desk, approved, proposed = small_past(Job("duckdb"), sandbox)
    cut_off(postgres_url, ("pipelines/move.py", "_put_away"))
    old, file = desk.url, Path(".milestones/ledger.sqlite")
    for url in {"here": [old], "there": [postgres_url], "both": [old, postgres_url]}[where]:
        desk.url = url
        with desk.ledger() as ledger:
            ledger.approve(desk.change(proposed), "bob")
            ledger.transition(desk.change(approved), Status.WITHDRAWN, who="ann", what="no more")
            for _ in range(2):  # the first one of the milestone whose change was open
                draft = replace(desk.draft(Action.UPDATE), milestone_id=approved.milestone_id)
                (change_id,) = ledger.propose([draft])
                ledger.transition(
                    ledger.change(change_id), Status.REJECTED, who="bob", what="nor this"
                )
            ledger.propose([draft])
    wanted = state(desk.url)
    result = moved_to(postgres_url)
    if where == "both":
        assert result.returncode == 1
        assert f"{file} stays" in result.stderr
        assert state(old) != state(postgres_url) == wanted
        return
    assert result.returncode == 0, result.stderr
    assert state(postgres_url) == wanted
    assert not file.exists()
    desk.url = postgres_url
    desk.proposed(desk.draft(Action.CREATE))  # with a number that nobody has


def cut_off(url: str, point: tuple[str, str]) -> None:
    """Move, and be killed where a function begins."""
    environment = os.environ | {"DESTINATION__POSTGRES__CREDENTIALS": url}
    process = start_function("tests.support.cut_off:move_until", *point, env=environment)
    _, said = process.communicate()
    assert process.returncode == 99, (point, said)


def test_a_move_that_was_cut_off_is_redone(
    sandbox: Sandbox, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed before, while and after the tables and the ledger are copied, it can be run again."""
    old = Job("duckdb")
    desk, done, left = with_past(old, sandbox)
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres_url)
    points = [
        ("dlt/load/load.py", "complete_package"),
        ("pipelines/move.py", "_move_ledger"),
        ("warehouse/ledger.py", "take_over"),
        ("pipelines/move.py", "_put_away"),  # it is copied, and not renamed
        ("warehouse/contents.py", "copy_by_sql"),
        ("warehouse/models.py", "refresh"),  # all is there but the marts
    ]
    for point in points:
        cut_off(postgres_url, point)
    old.sync(sandbox)  # by a schedule that nobody stopped
    shell("\n".join(commands("milestones move").splitlines()[1:2]))
    new = Job("postgres", postgres_url)
    desk.url = new.target.ledger_url
    assert new.rows(VERSIONS) == old.rows(VERSIONS)
    assert new.rows(MART) == old.rows(MART)
    assert desk.assert_true(done).status is Status.APPLIED
    goes_on(new, sandbox, desk, left)
