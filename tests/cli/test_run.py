"""`milestones run`, which a scheduler starts: one exit code, and a bounded log."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from pipelines.ops.json_log import MAX_LINES, JsonLog
from sources.kantata import RequestLog
from sources.kantata_sandbox import Fault, Sandbox
from tests.support.equality import assert_equal
from tests.support.job import Job
from tests.support.processes import Forked, start_milestones
from tests.support.writing_desk import Desk
from warehouse.ledger.change import Action, Status

PATIENCE = 600  # seconds


def start(job: Job, sandbox: Sandbox, *arguments: str, **settings: str) -> Forked:
    """Start `milestones` as cron does."""
    environment = os.environ | {
        "KANTATA_API_URL": sandbox.url,
        "KANTATA_ACCESS_TOKEN": sandbox.token,
    }
    return start_milestones(*arguments, "--destination", job.name, env=environment | settings)


def finish(process: Forked) -> tuple[int, str, list[dict[str, Any]]]:
    """Wait for a process; return its exit code, its output and its log."""
    out, err = process.communicate(PATIENCE)
    return process.returncode, out, [json.loads(line) for line in err.splitlines()]


@pytest.mark.long_on("postgres")
def test_one_run_syncs_pushes_and_logs(job: Job) -> None:
    """A run syncs, pushes and loads what it wrote; it logs each request and phase."""
    url = job.url or f"sqlite:///{Path.cwd() / 'ledger.sqlite'}"
    with Sandbox(milestones=60) as sandbox:
        job.synced(sandbox)
        desk = Desk(sandbox, url)
        change = desk.approved(desk.draft(Action.UPDATE))
        sandbox.misbehave(Fault("error", path="invoices", times=1, message="busy"))
        settings = {"LEDGER__URL": url, "PUSH__ENABLED": "true"}
        settings |= {"SOURCES__KANTATA__BACKOFF_SECONDS": "0.01"}
        process = start(job, sandbox, "run", "--log-format", "json", **settings)
        code, out, log = finish(process)
        assert (code, out) == (0, "")
        assert desk.assert_true(change).status is Status.APPLIED
        assert_equal(job, sandbox.account)
        served = {request.request_id for request in sandbox.requests}
        requests = [line for line in log if line["event"] == "request"]
        assert {line["request_id"] for line in requests} <= served
        assert [line["status"] for line in requests if line["level"] == "warning"] == [503]
        assert "PUT" in {line["method"] for line in requests}
        phases = [line["phase"] for line in log if line["event"] == "phase"]
        read = ["reading", "loading", "proving", "building marts"]
        read += ["publishing"] if job.target.loader else []
        assert phases == [*read, "writing", *read]
        assert all(line["run_id"] for line in log if line["event"] == "phase")
        last = log[-1]
        assert (last["event"], last["exit_code"], last["pushed"]) == ("end", 0, {"applied": 1})
        assert sandbox.token not in json.dumps(log)


def _logged(status: int, request_id: str) -> RequestLog:
    return RequestLog(
        method="GET", path="billing_milestones", status=status, request_id=request_id, seconds=0.01
    )


def test_log_is_bounded(capsys: pytest.CaptureFixture[str]) -> None:
    """The log of a long run has a limit for each event; its last line counts what was left out."""
    log = JsonLog()
    observer = log.observer()
    for number in range(5_000):
        observer.on_request(_logged(200, f"r{number}"))
        observer.note("a request is tried again")
    observer.on_request(_logged(503, "bad"))
    log.end(75, error="busy")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert len(lines) == 2 * MAX_LINES + 2
    assert lines[-2]["request_id"] == "bad"
    assert lines[-1]["left_out"] == {"request": 5_000 - MAX_LINES, "note": 5_000 - MAX_LINES}


def test_a_failure_is_the_last_line_and_the_exit_code() -> None:
    """A failed run ends its log with the error: stderr has only the log, stdout only JSON."""
    job = Job("duckdb")
    with Sandbox(milestones=30) as sandbox:
        arguments = ("run", "--log-format", "json", "--json")
        for settings, code in (
            ({"KANTATA_ACCESS_TOKEN": "bad"}, 2),
            ({"SOURCES__KANTATA__SCAN_EVERY": "soon"}, 2),
            ({"ALERTS__ALERT_AFTER": "soon"}, 2),
            ({"ALERTS__WEBHOOK_URL": "http://example.com/x"}, 2),
            ({"KANTATA_API_URL": "http://127.0.0.1:9/api/v1"}, 75),
        ):
            settings |= {"SOURCES__KANTATA__BACKOFF_SECONDS": "0.01"}
            got, out, log = finish(start(job, sandbox, *arguments, **settings))
            assert (got, log[-1]["exit_code"], json.loads(out)["exit_code"]) == (code,) * 3
            assert log[-1]["error"] == json.loads(out)["error"]


def test_an_error_that_stops_a_push_is_reported() -> None:
    """The error is in the last line of the log, which Airflow shows, and in plain text on stderr.

    Such a run synced successfully, so it ends without an exception.
    """
    job = Job("duckdb")
    url = f"sqlite:///{Path.cwd() / 'ledger.sqlite'}"
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        desk = Desk(sandbox, url)
        desk.approved(desk.draft(Action.UPDATE))
        settings = {"LEDGER__URL": url, "PUSH__ENABLED": "true", "KANTATA_WRITE_TOKEN": "not-it"}
        code, _, log = finish(start(job, sandbox, "run", "--log-format", "json", **settings))
        assert (code, log[-1]["exit_code"]) == (2, 2)
        assert "KANTATA_WRITE_TOKEN" in log[-1]["error"]
        process = start(job, sandbox, "run", **settings)
        message = process.communicate(PATIENCE)[1]
        assert process.returncode == 2
        assert message.splitlines()[-1] == f"milestones: {log[-1]['error']}"


@pytest.mark.long
def test_output_that_cannot_be_written_stops_nothing() -> None:
    """With a full disk, or a reader that is gone, a run loads and exits with its own code."""
    job = Job("duckdb")
    reading, writing = os.pipe()
    os.close(reading)  # as `| head -1` does
    with (
        Sandbox(milestones=30) as sandbox,
        open("/dev/full", "w") as full,
        open(writing, "w") as gone,
    ):
        job.synced(sandbox)
        for output, log_format, token, code in (
            (full, "json", sandbox.token, 0),
            (full, "text", sandbox.token, 0),
            (full, "json", "bad", 2),
            (gone, "text", sandbox.token, 0),
        ):
            sandbox.account.create_milestone(title="new")
            settings = {"KANTATA_API_URL": sandbox.url, "KANTATA_ACCESS_TOKEN": token}
            command = ("run", "--log-format", log_format)
            environment = os.environ | settings
            run = start_milestones(*command, env=environment, stdout=output, stderr=output)
            run.communicate(PATIENCE)
            assert run.returncode == code
        assert_equal(job, sandbox.account)


@pytest.mark.long_on("postgres")
def test_push_alone_and_sync_alone(job: Job) -> None:
    """`--only` runs one part; push is refused while it is off."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        sync = ("run", "--only", "sync", "--log-format", "json")
        assert finish(start(job, sandbox, *sync, PUSH__ENABLED="true"))[0] == 0
        push = ("run", "--only", "push", "--log-format", "json")
        code, _, log = finish(start(job, sandbox, *push))
        assert (code, "PUSH__ENABLED=true" in log[-1]["error"]) == (2, True)
        assert finish(start(job, sandbox, *push, PUSH__ENABLED="true"))[0] == 0


@pytest.mark.long_on("postgres")
def test_overlapping_runs(job: Job) -> None:
    """A second run names the first and its start time, or waits for it and succeeds."""
    with Sandbox(milestones=300) as sandbox:
        job.synced(sandbox)
        sandbox.account.advance(2 * 86_400)  # so that a scan is due
        sandbox.misbehave(Fault("delay", seconds=15, path="billing_milestones", times=1))
        first = start(job, sandbox, "run")
        assert first.stderr is not None
        assert "reading\n" in first.stderr
        waiting = start(job, sandbox, "run", "--wait", "600", "--log-format", "json")
        code, _, log = finish(start(job, sandbox, "run", "--log-format", "json"))
        assert code == 75
        assert f"process {first.pid} on" in log[-1]["error"]
        assert " since 20" in log[-1]["error"]
        assert finish(waiting)[0] == 0
        assert first.communicate()[1] is not None
        assert first.returncode == 0
    assert job.rows("select status from kantata.sync_runs") == [("proven",)] * 3


@pytest.mark.parametrize(
    ("job", "when"),
    [
        ("duckdb", "writing"),
        pytest.param("postgres", "waiting", marks=pytest.mark.long),
        pytest.param("duckdb", "waiting", marks=pytest.mark.long),
        pytest.param("postgres", "writing", marks=pytest.mark.long),
    ],
    indirect=["job"],
)
def test_sigterm_ends_a_run_in_time(job: Job, when: str) -> None:
    """A stopped run exits with 143 at once; the next runs reconcile what was being sent."""
    url = job.url or f"sqlite:///{Path.cwd() / 'ledger.sqlite'}"
    settings = {"LEDGER__URL": url, "PUSH__ENABLED": "true", "PUSH__RECONCILE_AFTER": "0"}
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        desk = Desk(sandbox, url)
        change = desk.approved(desk.draft(Action.UPDATE))
        sandbox.misbehave(Fault("delay", seconds=3_600, method="PUT"))
        process = first = start(job, sandbox, "run", **settings)
        assert first.stderr is not None
        while first.stderr.readline().strip() != "writing":
            pass
        if when == "waiting":
            process = start(job, sandbox, "run", "--wait", "600", **settings)
            assert process.stderr is not None
            waits = f"another run is in progress: process {first.pid} on"
            assert waits in process.stderr.readline()
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        message = process.communicate(PATIENCE)[1]
        assert process.returncode == 143, message
        assert "stopped by SIGTERM" in message
        first.send_signal(signal.SIGKILL)
        first.communicate()
        sandbox.behave()
        time.sleep(0.2)
        assert finish(start(job, sandbox, "run", "--log-format", "json", **settings))[0] in (0, 3)
        assert finish(start(job, sandbox, "run", "--log-format", "json", **settings))[0] == 0
        desk.assert_true(change)
        assert_equal(job, sandbox.account)


@pytest.mark.long_on("postgres")
def test_status_fails_if_the_warehouse_is_too_old(job: Job) -> None:
    """Exits with 0 while the last validated run is recent, else with 1; a push does not count."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        for age, code in (("6h", 0), ("0s", 1)):
            process = start(job, sandbox, "status", "--fail-if-older-than", age)
            out, said = process.communicate(timeout=60)
            assert process.returncode == code, said
            assert "validated" in out
            assert (f"no run was validated within {age}" in said) == bool(code)
        job.run("update kantata.sync_runs set mode = 'touched'")
        process = start(job, sandbox, "status", "--fail-if-older-than", "6h")
        process.communicate(PATIENCE)
        assert process.returncode == 1
