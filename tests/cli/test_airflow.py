"""A real Airflow executes the DAG against a sandbox, in its own environment."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sources.kantata_sandbox import Fault, Sandbox
from tests.support.equality import assert_equal
from tests.support.job import Job
from tests.support.writing_desk import Desk
from warehouse.ledger.change import Action, Status

ROOT = Path(__file__).parents[2]
HOME = ROOT / ".venv-airflow"
CONSTRAINTS = Path(__file__).with_name("airflow-constraints.txt")
pytestmark = pytest.mark.airflow


def _installed() -> Path:
    """Return the Python of Airflow's environment, installed again when the constraints change."""
    python, stamp = HOME / "bin" / "python", HOME / ".installed"
    wanted = hashlib.sha256(CONSTRAINTS.read_bytes()).hexdigest()
    if stamp.exists() and stamp.read_text() == wanted:
        return python
    shutil.rmtree(HOME, ignore_errors=True)
    packages = ["--constraint", str(CONSTRAINTS), "apache-airflow"]
    if uv := shutil.which("uv"):
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(HOME)], check=True)
        command = [uv, "pip", "install", "-q", "--python", str(python), *packages]
    else:
        subprocess.run([sys.executable, "-m", "venv", str(HOME)], check=True)
        command = [str(python), "-m", "pip", "install", "-q", *packages]
    subprocess.run(command, check=True)
    stamp.write_text(wanted)
    return python


@dataclass
class Airflow:
    """An Airflow that runs the DAG on request."""

    process: subprocess.Popen[str]

    def run(
        self, sandbox: Sandbox, job: Job, timeout: float = 600, token: str = "", **settings: str
    ) -> dict[str, Any]:
        """Run the DAG once; return the state of each task, and the log."""
        kantata = {"conn_type": "generic", "host": sandbox.url, "password": token or sandbox.token}
        settings = {"SOURCES__KANTATA__BACKOFF_SECONDS": "0.01"} | settings
        environment = {
            "AIRFLOW_CONN_KANTATA": json.dumps(kantata),
            "AIRFLOW_VAR_MILESTONES_FOLDER": str(Path.cwd()),
            "AIRFLOW_VAR_MILESTONES_SETTINGS": json.dumps(settings),
        }
        if job.url:
            environment["AIRFLOW_CONN_MILESTONES_POSTGRES"] = f"{job.url}?__extra__=%7B%7D"
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        run = {"environment": environment, "timeout": timeout}
        self.process.stdin.write(json.dumps(run) + "\n")
        self.process.stdin.flush()
        log = []
        for line in self.process.stdout:
            if line.startswith("RESULT "):
                return json.loads(line.removeprefix("RESULT ")) | {"log": "".join(log)}
            log.append(line)
        raise AssertionError("".join(log)[-5000:])


@pytest.fixture(scope="module")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    """An Airflow with the DAG in its folder, set up as the production page says."""
    home = tmp_path_factory.mktemp("airflow")
    (home / "dags").mkdir()
    shutil.copy(ROOT / "pipelines" / "airflow_dag.py", home / "dags")
    command = home / "milestones"  # as installed, but from this tree
    command.write_text(
        f'#!/bin/sh\nPYTHONPATH={ROOT} exec {sys.executable} -m pipelines.cli "$@"\n'
    )
    command.chmod(0o755)
    process = subprocess.Popen(
        [str(_installed()), str(ROOT / "tests/support/airflow_runs.py"), str(home / "dags")],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "AIRFLOW_HOME": str(home),
            "AIRFLOW__CORE__LOAD_EXAMPLES": "false",
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
            "AIRFLOW_VAR_MILESTONES_COMMAND": str(command),
        },
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    yield Airflow(process)
    process.communicate(timeout=600)


def task_results(result: dict[str, Any]) -> dict[str, tuple[str, int]]:
    """Return the state of each task, and its number of tries."""
    return {name: (task["state"], task["tries"]) for name, task in result["tasks"].items()}


def test_each_exit_code_gives_its_task_state(airflow: Airflow, job: Job) -> None:
    """0 and 3 succeed, 3 with a warning; 75 is retried; 1 and 2 fail at once."""
    with Sandbox(milestones=60) as sandbox:
        result = airflow.run(sandbox, job)
        assert task_results(result) == {"sync": ("success", 1), "push": ("skipped", 1)}
        assert result["dag"] == {"catchup": False, "max_active_runs": 1}
        assert_equal(job, sandbox.account)

        sandbox.misbehave(Fault("throttle", times=5))
        result = airflow.run(sandbox, job)
        assert task_results(result)["sync"] == ("success", 2)
        sandbox.misbehave(Fault("throttle"))
        result = airflow.run(sandbox, job)
        assert task_results(result)["sync"] == ("failed", 4)
        assert "throttling" in result["log"]
        sandbox.behave()

        result = airflow.run(sandbox, job, token="wrong")  # noqa: S106 - it is no token
        assert task_results(result)["sync"] == ("failed", 1)
        assert "KANTATA_ACCESS_TOKEN" in result["log"]

        spoiled = next(iter(sandbox.account.milestones))
        sandbox.account.set_raw(spoiled, "amount_in_cents", "12.50")
        result = airflow.run(sandbox, job, SOURCES__KANTATA__SCAN_EVERY="0s")
        assert task_results(result)["sync"] == ("success", 1)
        assert f"action required: billing_milestones {spoiled} is rejected" in result["log"]
        assert sandbox.token not in result["log"]

        sandbox.account.update_currency("USD", 1000)  # nothing is published: no green task
        result = airflow.run(sandbox, job, SOURCES__KANTATA__SCAN_EVERY="0s")
        assert task_results(result)["sync"] == ("failed", 1)
        assert "--accept-minor-unit" in result["log"]


def test_push_is_a_separate_task(airflow: Airflow, job: Job) -> None:
    """Push writes approved changes, is never retried, and is refused if the ledger is a file."""
    with Sandbox(milestones=60) as sandbox:
        if not job.url:
            result = airflow.run(sandbox, job, PUSH__ENABLED="true")
            assert task_results(result) == {"sync": ("success", 1), "push": ("failed", 1)}
            assert "must be on Postgres" in result["log"]
            return
        job.sync(sandbox)
        desk = Desk(sandbox, job.url)
        done, left = (desk.approved(desk.draft(Action.UPDATE)) for _ in range(2))
        settings = {"PUSH__ENABLED": "true", "PUSH__MAX_CHANGES": "1"}
        result = airflow.run(sandbox, job, **settings)
        assert task_results(result)["push"] == ("success", 1), result["log"][-3000:]
        assert desk.assert_true(done).status is Status.APPLIED
        assert_equal(job, sandbox.account)

        sandbox.misbehave(Fault("throttle", method="PUT"))
        result = airflow.run(sandbox, job, **settings)
        assert task_results(result) == {"sync": ("success", 1), "push": ("failed", 1)}
        assert desk.assert_true(left, finished=False).status is Status.APPROVED


def test_a_stopped_task_ends_its_run(airflow: Airflow) -> None:
    """When Airflow stops a task, its run ends and is recorded as stopped."""
    job = Job("duckdb")
    with Sandbox(milestones=60) as sandbox:
        sandbox.misbehave(Fault("delay", seconds=600, path="^/?billing_milestones"))
        result = airflow.run(sandbox, job, timeout=30)
        assert task_results(result)["sync"][0] == "failed"
    statuses = {row[0] for row in job.rows("select status from kantata.sync_runs")}
    assert statuses == {"stopped"}
