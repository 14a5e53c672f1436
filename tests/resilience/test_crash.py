"""A run may die at any point: the next run redoes it, with the same result."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from pipelines.ops.marts import rebuild_marts
from sources.kantata_sandbox import Account, Fault, Sandbox
from tests.support.equality import assert_equal
from tests.support.job import Job
from tests.support.kill_points import SCENARIOS, Point, code_of, died, every_point, points
from tests.support.processes import COMMAND, ROOT, run_milestones, start_milestones
from tests.support.sampling import sample

CLOSE = "dlt.destinations.impl.duckdb.sql_client:DuckDbSqlClient.close_connection"


@pytest.mark.parametrize("point", list(dict.fromkeys(every_point())), ids=str)
def test_every_kill_point_is_a_function(point: Point) -> None:
    """Each point names an existing function, so a rename is noticed even outside the sample."""
    assert code_of(point.function)


@pytest.mark.parametrize(
    "every", [100, pytest.param(1, marks=pytest.mark.long)], ids=["one", "all"]
)
@pytest.mark.parametrize(
    "scenario",
    [
        pytest.param(name, marks=() if "incremental" in name else pytest.mark.long_on("postgres"))
        for name in SCENARIOS
    ],
)
def test_killed_runs_are_redone(
    job: Job, scenario: str, every: int, record_property: pytest.RecordProperty
) -> None:
    """After a run dies at one point, or three runs in a row do, the next run repairs the result."""
    chosen = sample(points(job.name, scenario), every)
    with Sandbox(milestones=230) as sandbox:
        account = sandbox.account
        if scenario != "first runs":
            job.synced(sandbox)
        for number, point in enumerate(chosen.items):
            if scenario == "first runs":
                job.empty()
            change(account, number)
            assert died(job, sandbox, point, full=scenario != "incremental runs"), point
            if scenario != "scans" or every > 1 or number % 3 == 2 or point is chosen.items[-1]:
                assert job.sync(sandbox).exit_code == 0, point
                assert_equal(job, account)
    statuses = {row[0] for row in job.rows("select status from kantata.sync_runs")}
    assert statuses <= {"proven", "stopped"}
    record_property("killed", f"{len(chosen.items)} ({chosen.about})")
    print(f"{scenario}, {job.name}: killed at {len(chosen.items)} points ({chosen.about})")


def change(account: Account, number: int) -> None:
    """Update, create, invoice, rename and delete records."""
    ids = list(account.milestones)
    account.update_milestone(ids[number], amount_in_cents=number)
    account.invoice_milestone(account.create_milestone(title=f"new {number}"))
    account.rename_workspace(next(iter(account.workspaces)), f"named {number}")
    account.delete_milestone(ids[-1 - number])


@pytest.mark.parametrize("every", [5, pytest.param(1, marks=pytest.mark.long)], ids=["one", "all"])
@pytest.mark.parametrize("job", ["duckdb"], indirect=True)
def test_killed_before_the_file_is_written(job: Job, every: int) -> None:
    """A first run dies while only DuckDB's log has its commits; the next run is correct."""
    last = 28  # connections of a first run; the 26th builds the marts, and the last keeps it open
    chosen = sample([Point(CLOSE, call) for call in range(22, last + 1)], every)
    with Sandbox(milestones=30) as sandbox:
        for point in chosen.items:
            assert died(job, sandbox, point), point
            assert job.sync(sandbox).exit_code == 0, point
            assert_equal(job, sandbox.account)
            job.empty()
        assert every > 1 or not died(job, sandbox, Point(CLOSE, last + 1))
    print(f"killed at {len(chosen.items)} of the last times the file was closed ({chosen.about})")


@pytest.mark.parametrize(
    ("job", "phase", "number"),
    [
        ("duckdb", "loading", signal.SIGTERM),
        pytest.param("postgres", "reading", signal.SIGINT, marks=pytest.mark.long),
        pytest.param("duckdb", "reading", signal.SIGINT, marks=pytest.mark.long),
        pytest.param("duckdb", "reading", signal.SIGTERM, marks=pytest.mark.long),
        pytest.param("duckdb", "loading", signal.SIGINT, marks=pytest.mark.long),
        pytest.param("postgres", "reading", signal.SIGTERM, marks=pytest.mark.long),
        pytest.param("postgres", "loading", signal.SIGINT, marks=pytest.mark.long),
        pytest.param("postgres", "loading", signal.SIGTERM, marks=pytest.mark.long),
    ],
    indirect=["job"],
)
def test_signals_end_a_run_in_order(job: Job, phase: str, number: int) -> None:
    """A signal ends the run within ten seconds, with its exit code and the status ``stopped``."""
    code = 128 + number
    milestones, latency = (2_000, 300) if phase == "reading" else (5_000, 0)
    with Sandbox(milestones=milestones, latency_ms=latency) as sandbox:
        environment = os.environ | {
            "KANTATA_API_URL": sandbox.url,
            "KANTATA_ACCESS_TOKEN": sandbox.token,
        }
        words = ("sync", "--destination", job.name)
        with start_milestones(*words, env=environment, stdout=subprocess.DEVNULL) as process:
            assert process.stderr is not None
            for line in process.stderr:
                if line.strip() == phase:
                    break
            time.sleep(0.2)
            process.send_signal(number)
            began = time.monotonic()
            output = process.stderr.read()
            assert process.wait() == code, output
        assert time.monotonic() - began < 10
        assert "Traceback" not in output
        assert job.rows("select status from kantata.sync_runs") == [("stopped",)]
        assert job.sync(sandbox).run.rows_read == milestones
        assert_equal(job, sandbox.account)


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGINT, 130), pytest.param(signal.SIGTERM, 143, marks=pytest.mark.long)],
)
def test_signals_end_a_run_that_waits_in_the_server(postgres: Job, number: int, code: int) -> None:
    """A signal ends the run within ten seconds, even while another session locks a mart's table."""
    words = ("run", "--destination", "postgres", "--log-format", "json")
    with Sandbox(milestones=60) as sandbox:
        postgres.synced(sandbox)
        sandbox.account.create_milestone(title="new")
        with closing(psycopg2.connect(postgres.url)) as other, other.cursor() as cursor:
            cursor.execute("lock table kantata_marts.billing_milestones in exclusive mode")
            process = start_milestones(*words, stdout=subprocess.DEVNULL)
            waits = (
                "select 1 from pg_stat_activity "
                "where wait_event_type = 'Lock' and datname = current_database()"
            )
            while not postgres.rows(waits):
                assert process.poll() is None
                time.sleep(0.2)
            process.send_signal(number)
            began = time.monotonic()
            _, output = process.communicate()
            assert time.monotonic() - began < 10
        end = json.loads(output.splitlines()[-1])
        assert (process.returncode, end["event"], end["exit_code"]) == (code, "end", code)
        assert "stopped by SIG" in end["error"]
        assert postgres.sync(sandbox).exit_code == 0
        assert_equal(postgres, sandbox.account)
    statuses = postgres.rows("select status from kantata.sync_runs order by run_id")
    assert statuses == [("proven",), ("stopped",), ("proven",)]


def test_sigterm_ends_the_first_process_of_a_container() -> None:
    """SIGTERM ends process 1 while it imports; Linux discards it until there is a handler."""
    container = ["unshare", "--pid", "--fork", "--kill-child"]
    if not shutil.which("unshare") or subprocess.run([*container, "true"], check=False).returncode:
        pytest.skip("this test may not make a PID namespace with unshare: run it as root")
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen([*container, *COMMAND, "status"], env=environment) as process:
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not (first := children.read_text().split()):
            time.sleep(0.001)
        handled = re.compile(r"SigCgt:\s+([0-9a-f]+)")
        while process.poll() is None:
            found = handled.search(Path(f"/proc/{first[0]}/status").read_text())
            if found and int(found[1], 16) & 1 << signal.SIGTERM - 1:
                os.kill(int(first[0]), signal.SIGTERM)
                break
            time.sleep(0.001)
        assert process.wait() == 143


@pytest.mark.long_on("postgres")
def test_half_written_working_folder_does_not_stop_the_next_run(job: Job) -> None:
    """A run that died while dlt wrote its schema leaves a state that names a missing file."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        (schema,) = (job.target.working / "milestones" / "schemas").glob("kantata.*")
        schema.unlink()
        assert rebuild_marts(job.target) == []
        assert job.sync(sandbox).exit_code == 0
        assert_equal(job, sandbox.account)


@pytest.mark.long_on("postgres")
def test_killed_while_reading_leaves_no_lock(job: Job) -> None:
    """The lock of a killed run does not block the next one."""
    with Sandbox(milestones=300) as sandbox:
        sandbox.misbehave(Fault("delay", seconds=600, path="billing_milestones"))
        environment = os.environ | {
            "KANTATA_API_URL": sandbox.url,
            "KANTATA_ACCESS_TOKEN": sandbox.token,
        }
        words = ["sync", "--destination", job.name]
        with start_milestones(*words, env=environment) as process:
            assert process.stderr is not None
            assert "reading\n" in process.stderr
            busy = run_milestones(*words, "--json", env=environment)
            assert busy.returncode == 75, busy.stderr
            assert f"process {process.pid} on" in json.loads(busy.stdout)["error"]
            process.kill()
        sandbox.behave()
        assert job.sync(sandbox).exit_code == 0
    statuses = job.rows("select status from kantata.sync_runs order by run_id")
    assert statuses == [("stopped",), ("proven",)]
