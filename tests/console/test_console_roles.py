"""On Postgres, the console works with the logins that the page for operators gives it."""

from __future__ import annotations

import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.config.targets import configured_target
from sources.kantata_sandbox import Sandbox
from tests.support.console import running_console
from tests.support.job import Job
from tests.support.page import Page
from warehouse.ledger.change import Status
from warehouse.ledger.connection import connect_ledger

PAGE = (Path(__file__).parents[2] / "pipelines" / "PRODUCTION.md").read_text()


def _settings(job: Job, logins: dict[str, str]) -> dict[str, str]:
    """The settings of the page's commands, with these logins, as the shell sets them."""
    (block,) = re.findall(r"```sh\n((?:export .*\n)*.*console_reader.*\n(?:export .*\n)*)```", PAGE)
    for name, login in logins.items():
        assert f"://{name}:password@host:5432/database" in block
        address = f"://{login}:secret@{job.url.partition('@')[2]}"
        block = block.replace(f"://{name}:password@host:5432/database", address)
    command = ["env", "-i", "sh", "-e", "-c", f"{block}\nenv"]
    printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return {
        name: value
        for name, _, value in (line.partition("=") for line in printed.splitlines())
        if "__" in name
    }


def test_the_console_needs_no_login_of_the_job(
    postgres: Job, roles: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """With the two logins of the page, people propose and approve."""
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", roles)
    with Sandbox(milestones=20) as sandbox:
        postgres.sync(sandbox)
    with connect_ledger(roles, lambda: datetime.now(UTC)):  # the job creates the ledger
        pass
    suffix = postgres.url.rpartition("_")[2]  # roles belong to the whole server
    logins = {"console_reader": f"reads_{suffix}", "console_writer": f"writes_{suffix}"}
    for login, role in zip(logins.values(), ("proposer", "console"), strict=True):
        postgres.run(f"create role {login} login password 'secret' in role milestones_{role}")
    another = tmp_path / "console"
    another.mkdir()
    monkeypatch.chdir(another)
    monkeypatch.delenv("KANTATA_ACCESS_TOKEN")
    monkeypatch.delenv("DESTINATION__POSTGRES__CREDENTIALS")
    for name, value in _settings(postgres, logins).items():
        monkeypatch.setenv(name, value)
    ((milestone,),) = postgres.rows(
        "select min(id) from kantata_marts.billing_milestones where status = 'overdue'"
    )
    with running_console(configured_target()) as browser:
        ana, ben = browser("ana"), browser("ben")
        title = {"milestone_id": milestone, "title": "by the console", "reason": "as agreed"}
        answer = ana.post("/changes/propose", title)
        assert answer.headers.get("location") == "/changes?proposed=1", Page(answer.text).text
        (pick,) = ben.picks()
        assert ben.decide("approve", pick).headers["location"] == "/changes?approved=1"
    with connect_ledger(roles, lambda: datetime.now(UTC)) as ledger:
        (change,) = ledger.changes()
        assert change.status is Status.APPROVED
        assert {event.db_user for event in ledger.events()} == {logins["console_writer"]}
    for login in logins.values():
        postgres.run(f"drop owned by {login}; drop role {login}")
