"""How much work fixed scenarios do: requests, SQL, Arrow tables, rows, processes, modules.

Nothing here takes the time, so a busy machine changes nothing. If a test fails, more is done than
before, or less. Find out why. If it is meant, put the numbers that the failure prints into the
table below, and the reason into the commit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from pipelines.config.settings import kantata_settings, push_settings
from pipelines.runtime.clock import utc_now
from pipelines.runtime.observer import RunObserver
from pipelines.writeback.ledger_access import open_ledger
from pipelines.writeback.milestone import milestone_image
from pipelines.writeback.service import push_changes
from sources.kantata_sandbox import Sandbox
from tests.support.job import Job
from tests.support.processes import ROOT
from tests.support.work_done import Work, work_done
from warehouse.ledger.change import Action, Draft

_LONG = pytest.mark.long
# Calls of SQL may differ by a few with the version of dlt; the other numbers are exact.
TOLERANCE = 4
WORK = {
    "first sync of 401": Work(requests=8, sql=696, arrow_tables=19, rows=1396),
    "first sync of 1,000": Work(requests=10, sql=696, arrow_tables=30, rows=3386),
    "unchanged run by the feed": Work(requests=5, sql=143, arrow_tables=0, rows=0),
    "unchanged scan": Work(requests=9, sql=142, arrow_tables=0, rows=0),
    "10 changes by the feed": Work(requests=6, sql=334, arrow_tables=2, rows=20),
    "push of 5 updates": Work(requests=10, sql=429, arrow_tables=2, rows=10),
}


@dataclass(frozen=True)
class Modules:
    """The modules that a command may import.

    Args:
        most: How many.
        forbidden: Packages that it does not need.
    """

    most: int
    forbidden: frozenset[str]


_HEAVY = frozenset({"pandas", "numpy", "openpyxl"})
_NO_WORK = _HEAVY | {
    "dlt", "duckdb", "pyarrow", "sqlalchemy", "starlette", "uvicorn", "jinja2", "psycopg2",
    "requests", "sqlglot",
}  # fmt: skip
MODULES = {
    "--help": Modules(360, _NO_WORK),
    "--version": Modules(300, _NO_WORK),
    # of an account without changes
    "sync": Modules(1310, _HEAVY | {"sqlalchemy", "starlette", "uvicorn", "jinja2"}),
}
_RECORD = """
import atexit, json, runpy, sys
atexit.register(lambda: json.dump(sorted(sys.modules), open("modules.json", "w")))
runpy.run_module("pipelines.cli", run_name="__main__", alter_sys=True)
"""


def _update(sandbox: Sandbox) -> None:
    for id_ in list(sandbox.account.milestones)[:10]:
        sandbox.account.update_milestone(id_, title=f"renamed {id_}")


def _approve(job: Job, sandbox: Sandbox) -> None:
    """Approve 5 updates of milestones that are on no invoice."""
    account = sandbox.account
    free = [id_ for id_ in account.milestones if not account.invoices_of.get(id_)]
    drafts = []
    for id_ in free[:5]:
        before = dict(milestone_image(account.milestone(id_)))
        project, currency = str(before["workspace_id"]), str(before["currency"])
        drafts.append(
            Draft(Action.UPDATE, id_, project, currency, {"title": "new"}, before, "r", "ann")
        )
    with open_ledger(job.target, utc_now, create=True) as ledger:
        for change_id in ledger.propose(drafts):
            ledger.approve(ledger.change(change_id), "bob")


def _push(job: Job) -> None:
    settings = kantata_settings(), push_settings()
    assert push_changes(*settings, job.target, RunObserver(), utc_now).exit_code == 0


@pytest.mark.parametrize(
    "milestones", [pytest.param(401, id="some"), pytest.param(1_000, id="all", marks=_LONG)]
)
@pytest.mark.parametrize("job", ["duckdb"], indirect=True)
def test_work_of_scenarios(job: Job, milestones: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each scenario does as much work as the table says."""
    monkeypatch.setenv("PUSH__ENABLED", "true")
    # The order in which pages arrive decides how many Arrow tables they become.
    monkeypatch.setenv("SOURCES__KANTATA__REQUESTS_IN_FLIGHT", "1")
    found: dict[str, Work] = {}

    def count(scenario: str, run: Callable[[], object]) -> None:
        with work_done(job, sandbox) as counter:
            run()
        found[scenario] = counter.work

    with Sandbox(milestones) as sandbox:
        count(f"first sync of {milestones:,}", lambda: job.sync(sandbox))
        count("unchanged run by the feed", lambda: job.sync(sandbox, full=False))
        if milestones == 1_000:
            count("unchanged scan", lambda: job.sync(sandbox))
            _update(sandbox)
            count("10 changes by the feed", lambda: job.sync(sandbox, full=False))
            _approve(job, sandbox)
            count("push of 5 updates", lambda: _push(job))
    differing = [name for name, work in found.items() if not _equals(work, WORK[name])]
    lines = "\n".join(f'    "{name}": {found[name]},' for name in differing)
    assert not differing, f"the work differs. If that is meant, write into WORK:\n{lines}"


def _equals(work: Work, wanted: Work) -> bool:
    return abs(work.sql - wanted.sql) <= TOLERANCE and work == Work(
        **{**vars(wanted), "sql": work.sql}
    )


@pytest.mark.parametrize(
    "command", ["--help", *(pytest.param(c, marks=_LONG) for c in ("--version", "sync"))]
)
@pytest.mark.parametrize("job", ["duckdb"], indirect=True)
def test_imported_modules(job: Job, command: str) -> None:
    """A command imports no more modules than the table says, and no heavy one without need."""
    with Sandbox(milestones=30) as sandbox:
        if command == "sync":
            job.synced(sandbox)
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "KANTATA_API_URL": sandbox.url,
            "KANTATA_ACCESS_TOKEN": sandbox.token,
        }
        command_line = [sys.executable, "-c", _RECORD, command]
        subprocess.run(command_line, env=environment, check=True, capture_output=True)
    with open("modules.json") as file:
        modules: list[str] = json.load(file)
    allowed = MODULES[command]
    imported = {name.partition(".")[0] for name in modules} & allowed.forbidden
    assert not imported, f"milestones {command} imports {', '.join(sorted(imported))} without need"
    assert len(modules) <= allowed.most, (
        f"milestones {command} imports {len(modules)} modules. If that is meant, write it into "
        "MODULES"
    )
