"""`milestones run`: everything a scheduler starts, with one exit code and a log it can keep."""

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


def ended(process: Forked) -> tuple[int, str, list[dict[str, Any]]]:
    """Its exit code, what it printed, and its log."""
    out, err = process.communicate(PATIENCE)
    return process.returncode, out, [json.loads(line) for line in err.splitlines()]


def test_one_run_does_it_all_and_logs_it(job: Job) -> None:
    """Sync, push, and what was pushed synced again; a line for each request and phase."""
    url = job.url or f"sqlite:///{Path.cwd() / 'ledger.sqlite'}"
    with Sandbox(milestones=60) as sandbox:
        job.synced(sandbox)
        desk = Desk(sandbox, url)
        change = desk.approved(desk.draft(Action.UPDATE))
        sandbox.misbehave(Fault("error", path="invoices", times=1, message="busy"))
        settings = {"LEDGER__URL": url, "PUSH__ENABLED": "true"}
        settings |= {"SOURCES__KANTATA__BACKOFF_SECONDS": "0.01"}
        process = start(job, sandbox, "run", "--log-format", "json", **settings)
        code, out, log = ended(process)
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
    """However many requests a scan sends, some hundred lines are written; the last counts more."""
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


def test_what_is_wrong_is_the_last_line_and_the_exit_code() -> None:
    """A failure is a line of the log too; nothing else is on stderr, and stdout can be JSON."""
    job = Job("duckdb")
    with Sandbox(milestones=10) as sandbox:
        arguments = ("run", "--log-format", "json", "--json")
        for settings, code in (
            ({"KANTATA_ACCESS_TOKEN": "bad"}, 2),
            ({"SOURCES__KANTATA__SCAN_EVERY": "soon"}, 2),
            ({"ALERTS__ALERT_AFTER": "soon"}, 2),
            ({"ALERTS__WEBHOOK_URL": "http://example.com/x"}, 2),
            ({"KANTATA_API_URL": "http://127.0.0.1:9/api/v1"}, 75),
        ):
            settings |= {"SOURCES__KANTATA__BACKOFF_SECONDS": "0.01"}
            got, out, log = ended(start(job, sandbox, *arguments, **settings))
            assert (got, log[-1]["exit_code"], json.loads(out)["exit_code"]) == (code,) * 3
            assert log[-1]["error"] == json.loads(out)["error"]


def test_what_stops_a_push_is_told() -> None:
    """As the error of the log's last line, which Airflow shows; and in words where a person looks.

    A run whose push was stopped synced well, so it ends without an exception.
    """
    job = Job("duckdb")
    url = f"sqlite:///{Path.cwd() / 'ledger.sqlite'}"
    with Sandbox(milestones=10) as sandbox:
        job.synced(sandbox)
        desk = Desk(sandbox, url)
        desk.approved(desk.draft(Action.UPDATE))
        settings = {"LEDGER__URL": url, "PUSH__ENABLED": "true", "KANTATA_WRITE_TOKEN": "not-it"}
        code, _, log = ended(start(job, sandbox, "run", "--log-format", "json", **settings))
        assert (code, log[-1]["exit_code"]) == (2, 2)
        assert "KANTATA_WRITE_TOKEN" in log[-1]["error"]
        process = start(job, sandbox, "run", **settings)
        said = process.communicate(PATIENCE)[1]
        assert process.returncode == 2
        assert said.splitlines()[-1] == f"milestones: {log[-1]['error']}"


def test_a_log_that_cannot_be_written_stops_nothing() -> None:
    """A disk that is full of logs: the run loads and publishes, and ends with its own exit code."""
    job = Job("duckdb")
    with Sandbox(milestones=10) as sandbox, open("/dev/full", "w") as full:
        for token, code in ((sandbox.token, 0), ("bad", 2)):
            settings = {"KANTATA_API_URL": sandbox.url, "KANTATA_ACCESS_TOKEN": token}
            run = start_milestones(
                "run", "--log-format", "json", env=os.environ | settings, stderr=full
            )
            run.communicate(PATIENCE)
            assert run.returncode == code
        assert_equal(job, sandbox.account)


def test_push_alone_and_sync_alone(job: Job) -> None:
    """`--only` does one part; push is refused while it is off."""
    with Sandbox(milestones=10) as sandbox:
        sync = ("run", "--only", "sync", "--log-format", "json")
        assert ended(start(job, sandbox, *sync, PUSH__ENABLED="true"))[0] == 0
        push = ("run", "--only", "push", "--log-format", "json")
        code, _, log = ended(start(job, sandbox, *push))
        assert (code, "PUSH__ENABLED=true" in log[-1]["error"]) == (2, True)
        assert ended(start(job, sandbox, *push, PUSH__ENABLED="true"))[0] == 0


def test_overlapping_runs(job: Job) -> None:
    """The second says who has it and since when, or waits; both end well then."""
    with Sandbox(milestones=300) as sandbox:
        sandbox.misbehave(Fault("delay", seconds=15, path="billing_milestones", times=1))
        first = start(job, sandbox, "run")
        assert first.stderr is not None
        assert first.stderr.readline().strip() == "reading"
        waiting = start(job, sandbox, "run", "--wait", "600", "--log-format", "json")
        code, _, log = ended(start(job, sandbox, "run", "--log-format", "json"))
        assert code == 75
        assert f"process {first.pid} on" in log[-1]["error"]
        assert " since 20" in log[-1]["error"]
        assert ended(waiting)[0] == 0
        assert first.communicate()[1] is not None
        assert first.returncode == 0
    assert job.rows("select status from kantata.sync_runs") == [("proven",)] * 2


@pytest.mark.parametrize("when", ["writing", "waiting"])
def test_sigterm_ends_a_run_in_time(job: Job, when: str) -> None:
    """With 143, long before Kantata answers; what was being sent is settled by the next run."""
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
            waits = f"another run is going: process {first.pid} on"
            assert waits in process.stderr.readline()
        time.sleep(0.5)
        process.send_signal(signal.SIGTERM)
        said = process.communicate(PATIENCE)[1]
        assert process.returncode == 143, said
        assert "stopped by SIGTERM" in said
        first.send_signal(signal.SIGKILL)
        first.communicate()
        sandbox.behave()
        time.sleep(0.2)
        assert ended(start(job, sandbox, "run", "--log-format", "json", **settings))[0] in (0, 3)
        assert ended(start(job, sandbox, "run", "--log-format", "json", **settings))[0] == 0
        desk.assert_true(change)
        assert_equal(job, sandbox.account)


def test_status_tells_monitors_when_it_is_too_old(job: Job) -> None:
    """0 while the last proof is fresh, 1 when it is not; what was pushed alone is no proof."""
    with Sandbox(milestones=10) as sandbox:
        job.synced(sandbox)
        for age, code in (("6h", 0), ("0s", 1)):
            process = start(job, sandbox, "status", "--fail-if-older-than", age)
            out, said = process.communicate(PATIENCE)
            assert process.returncode == code, said
            assert "proven" in out
            assert (f"no run was proven within {age}" in said) == bool(code)
        job.run("update kantata.sync_runs set mode = 'touched'")
        process = start(job, sandbox, "status", "--fail-if-older-than", "6h")
        process.communicate(PATIENCE)
        assert process.returncode == 1
