"""Time zones: of the reports, of the machine, and of the database's session."""

from __future__ import annotations

import importlib.resources
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.job import Job
from tests.support.postgres import reader_of
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


@pytest.mark.long_on("postgres")
def test_an_existing_warehouse_needs_the_time_zone_of_a_place(job: Job) -> None:
    """A name that databases disagree on is refused before anything is read or changed."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        requests = len(sandbox.requests)
        for command in ("sync", "run", "check", "status", "models", "checks"):
            refused = milestones(job, command, WAREHOUSE__REPORTING_TIMEZONE="CET")
            assert refused.returncode == 2, command
            assert "'CET'" in refused.stderr
            assert "Write it as Europe/Berlin." in refused.stderr
        assert len(sandbox.requests) == requests
    assert job.rows("select reporting_timezone from kantata_marts.data_freshness") == [("UTC",)]


@pytest.mark.parametrize("zone", ["", pytest.param("localtime", marks=pytest.mark.long)])
def test_the_time_zone_of_the_machine_may_be_unknown(zone: str) -> None:
    """With a TZ that Python does not know, commands work, and show times in UTC."""
    job = Job("duckdb")
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
    status = milestones(job, "status", "--json", TZ=zone)
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["proven_at"].endswith("+00:00")


@pytest.mark.long_on("duckdb")
def test_a_query_gives_the_same_days_on_every_machine(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proposer's query sees the days of UTC, whatever the machine and the server prefer."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        records = sandbox.account.milestones.values()
        moments = {
            m["id"]: datetime.fromisoformat(m["updated_at"]).astimezone(UTC)
            for m in records
            if not m["invoice_id"]
        }
    assert any(moment.hour >= 10 for moment in moments.values())  # in Kiritimati, the next day
    if job.name == "postgres":
        monkeypatch.setenv("WAREHOUSE__READER_CREDENTIALS", reader_of(job.url))
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


def zone_data(folder: Path, **zones: str) -> str:
    """A folder with time zone data for Python, in which zones have the rules of others."""
    for name, other in zones.items():
        file = folder / name.replace("__", "/")
        file.parent.mkdir(parents=True, exist_ok=True)
        with importlib.resources.files("tzdata.zoneinfo").joinpath(other).open("rb") as rules:
            file.write_bytes(rules.read())
    return str(folder)


def time_zone_line(checked: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    """The line of `check` about the time zone."""
    (line,) = (line for line in json.loads(checked.stdout) if line["question"] == "time zone")
    return line


@pytest.mark.long
def test_check_compares_the_time_zone_of_all_databases(job: Job, tmp_path: Path) -> None:
    """If Python has other rules than a database, or only it knows a zone, check ends with 2."""
    data = zone_data(
        tmp_path / "zones", Europe__Paris="Africa/Lagos", Europe__Atlantis="Europe/Berlin"
    )
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)

        def checked(zone: str, **more: str) -> dict[str, Any]:
            words = {"WAREHOUSE__REPORTING_TIMEZONE": zone} | more
            return time_zone_line(milestones(job, "check", "--json", **words))

        fine = checked("Europe/Berlin")
        assert fine["exit_code"] == 0
        assert ("Postgres" in fine["answer"]) == (job.name == "postgres")
        assert "agree on Europe/Berlin; next change " in fine["answer"]
        outdated = {"PYTHONTZPATH": data, "TZ": "UTC"}
        differs = checked("Europe/Paris", **outdated)  # only in summer
        assert differs["exit_code"] == 2
        assert "in Python and" in differs["answer"]
        unknown = milestones(
            job, "sync", WAREHOUSE__REPORTING_TIMEZONE="Europe/Atlantis", **outdated
        )
        assert unknown.returncode == 2
        assert "Europe/Atlantis, which" in unknown.stderr
    assert job.rows("select count(*) from kantata.sync_runs") == [(1,)]
