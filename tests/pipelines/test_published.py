"""The published file: dashboards keep it open, or open it all the time, and see whole states."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb

from sources.kantata_sandbox import Sandbox
from tests.conftest import Job
from warehouse import models

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
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    opened, states = json.loads(out)
    return opened, states


def test_dashboards_and_loads_are_not_in_each_others_way() -> None:
    """One that keeps the file sees one state; one that polls sees whole ones; each load works."""
    job, runs = Job("duckdb"), 8
    with Sandbox(milestones=300) as sandbox:
        job.sync(sandbox)
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
    assert polled > 100
    assert len(states) > runs // 2
    for live, in_mart, money, in_mart_money, versions, history, unproven in states:
        assert (live, money, versions) == (in_mart, in_mart_money, history)
        assert unproven == "0"


def test_it_works_under_any_name() -> None:
    """Every mart and view can be read when the file is called otherwise, or attached."""
    job = Job("duckdb")
    with Sandbox(milestones=30) as sandbox:
        job.sync(sandbox)
    shutil.copy("milestones.duckdb", "finance 2027.duckdb")
    names = [f"kantata_marts.{model.name}" for model in models.marts()]
    names += [f"kantata_stg.{model.name}" for model in models.staging()]
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
        job.sync(sandbox)
        subprocess.run([sys.executable, "-c", write], check=True)
        assert Path("milestones.duckdb.wal").exists()
        job.sync(sandbox)
    with duckdb.connect("milestones.duckdb", read_only=True) as connection:
        zeros = "select count(*) from kantata.billing_milestones where amount_in_cents = 0"
        assert connection.execute(zeros).fetchall() == [(0,)]
    assert not any(name.endswith(".new") for name in os.listdir())
