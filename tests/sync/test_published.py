"""The published file: every reader sees the state of one run, also while a run publishes."""

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

# Figures that must agree within one state: the marts with the raw tables.
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
kept = duckdb.connect("milestones.duckdb", read_only=True) if keep else None
print("ready", flush=True)
seen, opened = set(), 0
while not os.path.exists("enough"):
    connection = kept if keep else duckdb.connect("milestones.duckdb", read_only=True)
    seen.add(tuple(map(str, connection.execute(query).fetchone())))
    opened += 1
    if not keep:
        connection.close()
    time.sleep(0.1)
print(json.dumps([opened, sorted(seen)]))
"""


def dashboard(how: str) -> subprocess.Popen[str]:
    """Start a reader that keeps the published file open (``keep``) or reopens it (``poll``)."""
    process = subprocess.Popen(
        [sys.executable, "-c", _DASHBOARD, how, _WHOLE],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    return process


def states_read(process: subprocess.Popen[str]) -> tuple[int, list[list[str]]]:
    """Return how often a reader read, and the states it read."""
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    opened, states = json.loads(out)
    return opened, states


@pytest.mark.long
def test_dashboards_and_loads_do_not_block_each_other() -> None:
    """A reader that keeps the file sees one state, one that polls whole ones; no load fails."""
    job, runs = Job("duckdb"), 2
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
        polled, states = states_read(polls)
        kept = states_read(keeps)
        assert first.execute("select count(*) from kantata.billing_milestones").fetchall() == [
            (300,)
        ]
        first.close()
    assert len(kept[1]) == 1
    assert polled > 2 * runs
    assert len(states) > runs // 2
    for live, in_mart, money, in_mart_money, versions, history, unproven in states:
        assert (live, money, versions) == (in_mart, in_mart_money, history)
        assert unproven == "0"


def test_published_file_works_under_any_name() -> None:
    """Every mart and view can be read after the file was renamed or attached."""
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


def test_write_ahead_log_of_the_old_file_is_removed() -> None:
    """A log left by a process that wrote into the published file is not applied to the new one."""
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


def published_number(path: str) -> object:
    """Return the number in a published file."""
    with duckdb.connect(path, read_only=True) as connection:
        return connection.execute("select max(a) from t").fetchone()


def publish_number(number: int, target: str) -> None:
    """Add a number to the loader's file, and publish it."""
    with duckdb.connect("loader.duckdb") as connection:
        connection.execute("create table if not exists t (a int)")
        connection.execute("insert into t values (?)", [number])
    publish(Path("loader.duckdb"), Path(target))


def test_a_link_to_the_published_file_stays_a_link() -> None:
    """Its target is created or replaced, and the logs of both names are removed."""
    Path("share").mkdir()
    Path("inner.duckdb").symlink_to("share/real.duckdb")
    Path("link.duckdb").symlink_to("inner.duckdb")
    for number in (1, 2):
        for log in ("link.duckdb.wal", "share/real.duckdb.wal"):
            Path(log).write_text("left by another process")
        publish_number(number, "link.duckdb")
        assert Path("link.duckdb").is_symlink()
        assert Path("inner.duckdb").is_symlink()
        assert published_number("share/real.duckdb") == published_number("link.duckdb") == (number,)
        assert os.listdir("share") == ["real.duckdb"]
        assert not Path("link.duckdb.wal").exists()


def permissions(path: str) -> tuple[int, int, int]:
    """Return mode, owner and group of a file."""
    found = Path(path).stat()
    return stat.S_IMODE(found.st_mode), found.st_uid, found.st_gid


@pytest.mark.parametrize("mode", [0o660, 0o640, 0o444, 0o604])
def test_published_file_keeps_its_permissions(mode: int) -> None:
    """A new file gets the mode of the old one, and its owner and group if we may set them."""
    publish_number(1, "out.duckdb")
    Path("out.duckdb").chmod(mode)
    if os.geteuid() == 0:
        os.chown("out.duckdb", 4321, 1234)
    before = permissions("out.duckdb")
    publish_number(2, "out.duckdb")
    assert permissions("out.duckdb") == before
    assert published_number("out.duckdb") == (2,)


@contextmanager
def as_user(number: int) -> Iterator[None]:
    """Run as the user and the group of this number."""
    os.setegid(number)
    os.seteuid(number)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")
def test_a_group_that_cannot_be_set_gives_no_rights_to_another(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """If the old group cannot be set, our own group gets no more rights than others."""
    with TemporaryDirectory() as folder:  # only root may enter pytest's own
        monkeypatch.chdir(folder)
        publish_number(1, "out.duckdb")
        Path("out.duckdb").chmod(0o664)
        for path in (".", "loader.duckdb"):
            os.chown(path, 4321, -1)
        os.chown("out.duckdb", 0, 1234)
        with as_user(4321):
            publish_number(2, "out.duckdb")
        assert permissions("out.duckdb") == (0o644, 4321, 4321)
        assert published_number("out.duckdb") == (2,)
        monkeypatch.undo()


def test_brackets_in_a_file_name_are_no_pattern() -> None:
    """A copy left by a killed run is removed; the copy of another file stays."""
    Path(".a[bc].duckdb.99.new").touch()
    Path(".ab.duckdb.99.new").touch()
    publish_number(1, "a[bc].duckdb")
    assert not Path(".a[bc].duckdb.99.new").exists()
    assert Path(".ab.duckdb.99.new").exists()
