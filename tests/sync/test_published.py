"""The published file: dashboards keep it open, or open it all the time, and see whole states."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import duckdb
import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.job import Job
from warehouse.models import build
from warehouse.publish import publish

# Every figure of one state: the marts among themselves, and with the raw tables.
_WHOLE = """
select
    (select count(*) from kantata.billing_milestones where deleted_at is null),
    (select count(*) from kantata_marts.billing_milestones),
    (select sum(amount_in_cents * unit_per_subunit) from kantata.billing_milestones
        join kantata.currencies on iso_code = currency where deleted_at is null),
    (select sum(amount) from kantata_marts.billing_milestones),
    (select count(*) from kantata.billing_milestone_versions),
    (select count(*) from kantata_marts.billing_milestone_history),
    (select count(*) from kantata.sync_runs where status <> 'proven')
"""
_DASHBOARD = """
import json, os, sys, time
import duckdb
keep, query = sys.argv[1] == "keep", sys.argv[2]
held = duckdb.connect("milestones.duckdb", read_only=True) if keep else None
print("ready", flush=True)
seen, opened = set(), 0
while not os.path.exists("enough"):
    connection = held if keep else duckdb.connect("milestones.duckdb", read_only=True)
    seen.add(tuple(map(str, connection.execute(query).fetchone())))
    opened += 1
    if not keep:
        connection.close()
    time.sleep(0.05)
print(json.dumps([opened, sorted(seen)]))
"""


def dashboard(how: str) -> subprocess.Popen[str]:
    """A process that reads the published file until told: ``keep`` it open, or ``poll`` it."""
    process = subprocess.Popen(
        [sys.executable, "-c", _DASHBOARD, how, _WHOLE],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def seen(process: subprocess.Popen[str]) -> tuple[int, list[list[str]]]:
    """How often it looked, and the states it saw."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    opened, states = json.loads(out)
    return opened, states


def test_dashboards_and_loads_are_not_in_each_others_way() -> None:
    """One that keeps the file sees one state; one that polls sees whole ones; each load works."""
    job, runs = Job("duckdb"), 8
    with Sandbox(milestones=300) as sandbox:
        job.synced(sandbox)
        first = duckdb.connect("milestones.duckdb", read_only=True)
        keeps, polls = dashboard("keep"), dashboard("poll")
        account = sandbox.account
        for number in range(runs):
            for id_ in list(account.milestones)[number * 5 : number * 5 + 5]:
                account.silently_update_milestone(id_, amount_in_cents=number)
            account.create_milestone(title=f"new {number}")
            assert job.sync(sandbox).exit_code == 0
        Path("enough").touch()
        polled, states = seen(polls)
        kept = seen(keeps)
        assert first.execute("select count(*) from kantata.billing_milestones").fetchall() == [
            (300,)
        ]
        first.close()
    assert len(kept[1]) == 1
    assert polled > 5 * runs
    assert len(states) > runs // 2
    for live, in_mart, money, in_mart_money, versions, history, unproven in states:
        assert (live, money, versions) == (in_mart, in_mart_money, history)
        assert unproven == "0"


def test_it_works_under_any_name() -> None:
    """Every mart and view can be read when the file is called otherwise, or attached."""
    job = Job("duckdb")
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
    shutil.copy("milestones.duckdb", "finance 2027.duckdb")
    names = [f"kantata_marts.{model.name}" for model in build.marts()]
    names += [f"kantata_stg.{model.name}" for model in build.staging()]
    with duckdb.connect("finance 2027.duckdb", read_only=True) as connection:
        for name in names:
            connection.execute(f"select * from {name}").fetchall()
    with duckdb.connect() as connection:
        connection.execute("attach 'finance 2027.duckdb' as f (read_only)")
        connection.execute("use f")
        for name in names:
            connection.execute(f"select * from {name}").fetchall()


def test_what_somebody_left_beside_the_old_file_does_not_get_into_the_new_one() -> None:
    """A log of a process that wrote into the published file and died is gone with that file."""
    job = Job("duckdb")
    write = (
        "import duckdb, os; c = duckdb.connect('milestones.duckdb');"
        "c.execute('pragma disable_checkpoint_on_shutdown');"
        "c.execute('update kantata.billing_milestones set amount_in_cents = 0'); os._exit(0)"
    )
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        subprocess.run([sys.executable, "-c", write], check=True)
        assert Path("milestones.duckdb.wal").exists()
        job.sync(sandbox)
    with duckdb.connect("milestones.duckdb", read_only=True) as connection:
        zeros = "select count(*) from kantata.billing_milestones where amount_in_cents = 0"
        assert connection.execute(zeros).fetchall() == [(0,)]
    assert not any(name.endswith(".new") for name in os.listdir())


def held(path: str) -> object:
    """What a published file shows."""
    with duckdb.connect(path, read_only=True) as connection:
        return connection.execute("select max(a) from t").fetchone()


def publish_number(number: int, target: str) -> None:
    """Publish a loader's file that has a number more."""
    with duckdb.connect("loader.duckdb") as connection:
        connection.execute("create table if not exists t (a int)")
        connection.execute("insert into t values (?)", [number])
    publish(Path("loader.duckdb"), Path(target))


def test_a_link_stays_one_and_leads_to_what_is_new() -> None:
    """The file it leads to is replaced, be it there or not; a log by either name is gone."""
    Path("share").mkdir()
    Path("inner.duckdb").symlink_to("share/real.duckdb")
    Path("link.duckdb").symlink_to("inner.duckdb")
    for number in (1, 2):
        for log in ("link.duckdb.wal", "share/real.duckdb.wal"):
            Path(log).write_text("left by somebody")
        publish_number(number, "link.duckdb")
        assert Path("link.duckdb").is_symlink()
        assert Path("inner.duckdb").is_symlink()
        assert held("share/real.duckdb") == held("link.duckdb") == (number,)
        assert os.listdir("share") == ["real.duckdb"]
        assert not Path("link.duckdb.wal").exists()


def rights(path: str) -> tuple[int, int, int]:
    """Who may do what with a file."""
    found = Path(path).stat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


@pytest.mark.parametrize("mode", [0o660, 0o640, 0o444, 0o604])
def test_the_rights_of_the_published_file_stay(mode: int) -> None:
    """Its mode does, and where we may give them away its owner and group too."""
    publish_number(1, "out.duckdb")
    Path("out.duckdb").chmod(mode)
    if os.geteuid() == 0:
        os.chown("out.duckdb", 4321, 1234)
    before = rights("out.duckdb")
    publish_number(2, "out.duckdb")
    assert rights("out.duckdb") == before
    assert held("out.duckdb") == (2,)


@contextmanager
def somebody(number: int) -> Iterator[None]:
    """Be a user and a group of this number, and nobody else."""
    os.setegid(number)
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become somebody else")
def test_a_group_that_cannot_be_given_is_not_replaced_by_another_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who is in our own group may do no more with the new file than anybody."""
    with TemporaryDirectory() as folder:  # pytest's own are for root alone
        monkeypatch.chdir(folder)
        publish_number(1, "out.duckdb")
        Path("out.duckdb").chmod(0o664)
        for path in (".", "loader.duckdb"):
            os.chown(path, 4321, -1)
        os.chown("out.duckdb", 0, 1234)
        with somebody(4321):
            publish_number(2, "out.duckdb")
        assert rights("out.duckdb") == (0o644, 4321, 4321)
        assert held("out.duckdb") == (2,)
        monkeypatch.undo()


def test_brackets_in_its_name_are_no_pattern() -> None:
    """A copy that a killed run left beside it goes, and another file's copy stays."""
    Path(".a[bc].duckdb.99.new").touch()
    Path(".ab.duckdb.99.new").touch()
    publish_number(1, "a[bc].duckdb")
    assert not Path(".a[bc].duckdb.99.new").exists()
    assert Path(".ab.duckdb.99.new").exists()
