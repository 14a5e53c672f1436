"""Time zones: of the reports, of the machine, and of the database's session."""

from __future__ import annotations

import json
import os
import subprocess
from datetime import UTC, datetime

import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.job import Job
from tests.support.processes import COMMAND, ROOT, run_milestones


def milestones(job: Job, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """The result of a command on the job's warehouse."""
    words = (*arguments, "--destination", job.name)
    if "TZ" in environment:  # it decides when a process starts, so a forked one would ignore it
        return subprocess.run(
            [*COMMAND, *words], env=os.environ | {"PYTHONPATH": str(ROOT)} | environment,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
    return run_milestones(*words, env=os.environ | environment, timeout=600)


def test_an_existing_warehouse_needs_the_time_zone_of_a_place(job: Job) -> None:
    """A name that databases disagree on is refused before anything is read or changed."""
    with Sandbox(milestones=20) as sandbox:
        job.synced(sandbox)
        requests = len(sandbox.requests)
        for command in ("sync", "run", "check", "status", "models", "checks"):
            refused = milestones(job, command, WAREHOUSE__REPORTING_TIMEZONE="CET")
            assert refused.returncode == 2, command
            assert "'CET'" in refused.stderr
            assert "Write it as Europe/Berlin." in refused.stderr
        assert len(sandbox.requests) == requests
    assert job.rows("select reporting_timezone from kantata_marts.data_freshness") == [("UTC",)]


@pytest.mark.parametrize("zone", ["", "localtime"])
def test_the_time_zone_of_the_machine_may_be_unknown(zone: str) -> None:
    """With a TZ that Python does not know, commands work, and show times in UTC."""
    job = Job("duckdb")
    with Sandbox(milestones=20) as sandbox:
        job.synced(sandbox)
    status = milestones(job, "status", "--json", TZ=zone)
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["proven_at"].endswith("+00:00")


def test_a_query_gives_the_same_days_on_every_machine(job: Job) -> None:
    """A proposer's query sees the days of UTC, whatever the machine and the server prefer."""
    with Sandbox(milestones=20) as sandbox:
        job.synced(sandbox)
        records = sandbox.account.milestones.values()
        moments = {
            m["id"]: datetime.fromisoformat(m["updated_at"]).astimezone(UTC)
            for m in records
            if not m["invoice_id"]
        }
    assert any(moment.hour >= 10 for moment in moments.values())  # in Kiritimati, the next day
    if job.name == "postgres":
        name = job.url.rpartition("/")[2]
        job.run(f"alter database {name} set timezone = 'Pacific/Kiritimati'")
    ids = ", ".join(f"'{id_}'" for id_ in moments)
    query = (
        "select id as milestone_id, updated_at::date::text as title "
        f"from kantata.billing_milestones where id in ({ids})"
    )
    words = ("propose", "--reason", "the day it changed", "--query", query)
    proposed = milestones(job, *words, TZ="Pacific/Kiritimati", PGTZ="Pacific/Kiritimati")
    assert proposed.returncode == 0, proposed.stderr
    changes = json.loads(milestones(job, "changes", "--json").stdout)
    assert {change["milestone_id"]: change["after"]["title"] for change in changes} == {
        id_: moment.date().isoformat() for id_, moment in moments.items()
    }
