"""Two machines and one Postgres: one of them syncs, the other waits or exits with 75.

Each machine is a process in its own folder, so that only the server's lock separates them.
"""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
import pytest

from pipelines.config.settings import kantata_settings
from pipelines.ops.rebind import rebind
from pipelines.runtime.clock import utc_now
from sources.kantata_sandbox import Account, Fault, Sandbox
from tests.support.equality import assert_equal
from tests.support.job import Job
from tests.support.processes import Forked, start_milestones
from warehouse.database import connect
from warehouse.errors import WarehouseBusy, WarehouseUnavailable
from warehouse.server_lock import server_lock

HOLDERS = (
    "select l.pid from pg_locks l join pg_database d on d.oid = l.database "
    "where l.locktype = 'advisory' and d.datname = current_database()"
)


def on_machine(folder: Path, sandbox: Sandbox, *arguments: str) -> Forked:
    """Start `milestones sync` in a folder, which represents a machine."""
    folder.mkdir(exist_ok=True)
    environment = os.environ | {
        "KANTATA_API_URL": sandbox.url,
        "KANTATA_ACCESS_TOKEN": sandbox.token,
    }
    words = ("sync", "--destination", "postgres", "--json")
    return start_milestones(*words, *arguments, env=environment, cwd=folder)


def ended(process: Forked) -> tuple[int, str]:
    """Wait for a process; return its exit code, and its error if there was one."""
    output, log = process.communicate(600)
    assert "Traceback" not in log
    return process.returncode, json.loads(output).get("error", "")


@contextmanager
def reading(folder: Path, sandbox: Sandbox, seconds: float) -> Iterator[Forked]:
    """Run a sync that is still reading, for so many seconds more."""
    sandbox.misbehave(Fault("delay", seconds=seconds, path="billing_milestones", times=1))
    process = on_machine(folder, sandbox)
    assert process.stderr is not None
    try:
        assert "reading\n" in process.stderr
        yield process
    finally:
        process.kill()
        process.communicate()


def test_second_machine_exits_while_the_first_syncs(postgres: Job, tmp_path: Path) -> None:
    """While one machine syncs, another exits with 75 and names it; once it is killed, it syncs."""
    with Sandbox(milestones=60) as sandbox:
        with reading(tmp_path / "one", sandbox, 600) as one:
            code, error = ended(on_machine(tmp_path / "two", sandbox))
            assert code == 75
            found = re.fullmatch(
                rf"another run is in progress: milestones, process {one.pid} on \S+ since "
                r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d\d\d)",
                error,
            )
            assert found, error
            since = datetime.strptime(found[1], "%Y-%m-%d %H:%M:%S%z")
            assert abs(datetime.now(UTC) - since) < timedelta(minutes=1)
            assert postgres.rows("select count(*) from kantata.sync_runs") == [(1,)]
        assert ended(on_machine(tmp_path / "two", sandbox)) == (0, "")
        assert_equal(postgres, sandbox.account)
    statuses = postgres.rows("select status from kantata.sync_runs order by run_id")
    assert statuses == [("stopped",), ("proven",)]


def test_second_machine_waits_on_request(postgres: Job, tmp_path: Path) -> None:
    """With `--wait` the second run begins when the first has ended, and both are complete."""
    with Sandbox(milestones=60) as sandbox:
        with reading(tmp_path / "one", sandbox, 4) as one:
            two = on_machine(tmp_path / "two", sandbox, "--wait", "600", "--full")
            code, _ = ended(two)
            assert one.poll() == 0
        assert code == 0
        assert_equal(postgres, sandbox.account)
    (first, second) = postgres.rows(
        "select status, started_at, finished_at from kantata.sync_runs order by run_id"
    )
    assert (first[0], second[0]) == ("proven", "proven")
    assert second[1] > first[2]


def test_nothing_is_loaded_without_the_lock(postgres: Job) -> None:
    """A run that loses its lock while it reads stops before it loads: another may have it."""

    def lose_lock(_: Account) -> None:
        postgres.run(f"select pg_terminate_backend(pid) from ({HOLDERS}) holders")

    with Sandbox(milestones=60) as sandbox:
        sandbox.misbehave(Fault("change", path="billing_milestones", times=1, action=lose_lock))
        with pytest.raises(WarehouseUnavailable) as raised:
            postgres.sync(sandbox)
        assert raised.value.exit_code == 75
        assert postgres.rows("select count(*) from kantata.billing_milestones") == [(0,)]
        (run,) = postgres.rows("select status, error is not null from kantata.sync_runs")
        assert run == ("failed", True)
        assert postgres.sync(sandbox).exit_code == 0
        assert_equal(postgres, sandbox.account)


def test_nothing_is_bound_without_the_lock(postgres: Job) -> None:
    """A rebind that loses its lock while it asks for the account changes nothing."""

    def lose_lock(_: Account) -> None:
        postgres.run(f"select pg_terminate_backend(pid) from ({HOLDERS}) holders")

    bindings = "select count(*) from kantata.account_bindings"
    with Sandbox(milestones=30) as sandbox, Sandbox(milestones=30, seed=2) as other:
        postgres.synced(sandbox)
        os.environ |= {"KANTATA_API_URL": other.url, "KANTATA_ACCESS_TOKEN": other.token}
        other.misbehave(Fault("change", path="users/me", times=1, action=lose_lock))
        for count, ending in ((1, pytest.raises(WarehouseUnavailable)), (2, nullcontext())):
            with ending:
                rebind(kantata_settings(), postgres.target, "it has moved", utc_now)
            assert postgres.rows(bindings) == [(count,)]


def test_lock_is_of_one_warehouse(postgres: Job, postgres_server: str, tmp_path: Path) -> None:
    """A run on another database of the same server does not block a sync."""
    other = psycopg2.connect(postgres_server)
    try:
        with other, other.cursor() as cursor:
            cursor.execute("select pg_advisory_lock(x'6d696c65'::int, 1)")
        with Sandbox(milestones=30) as sandbox:
            assert ended(on_machine(tmp_path / "one", sandbox)) == (0, "")
    finally:
        other.close()
    assert postgres.rows("select status from kantata.sync_runs") == [("proven",)]


def test_lock_says_since_when_it_is_held(postgres: Job) -> None:
    """The message gives the time when the lock was taken, not when its connection was opened."""
    destination = postgres.target.destination
    with connect(destination) as late, connect(destination) as other:
        time.sleep(2)
        taken = datetime.now(UTC).replace(microsecond=0)
        with (
            server_lock(late),
            pytest.raises(WarehouseBusy) as raised,
            server_lock(other, shortest_wait=0.0),
        ):
            pass
    since = str(raised.value).rpartition(" since ")[2]
    assert datetime.strptime(since, "%Y-%m-%d %H:%M:%S%z") >= taken
