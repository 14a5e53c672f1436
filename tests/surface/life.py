"""A life: a series of commands on a warehouse and its ledger, with the answer of each command."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb

from sources.kantata_sandbox import Account, Fault, Sandbox
from tests.support.our_settings import OURS
from tests.support.webhook import Webhook, webhook
from tests.surface import story
from tests.surface.command_line import Result, milestones

LOADER_FILE = ".milestones/loader.duckdb"


@dataclass
class Life:
    """One warehouse and its account.

    Args:
        destination: ``duckdb`` or ``postgres``.
        sandbox: The account.
        hook: The webhook for alerts.
        answers: The JSON values that each command printed.
        ids: The proposed changes, by what happens to them.
        log: The lines of runs that log JSON.
    """

    destination: str
    sandbox: Sandbox
    hook: Webhook
    answers: dict[str, list[Any]] = field(default_factory=dict)
    ids: dict[str, str] = field(default_factory=dict)
    log: list[dict[str, Any]] = field(default_factory=list)

    @property
    def account(self) -> Account:
        """The account."""
        return self.sandbox.account

    def run(self, *arguments: str, code: int = 0) -> Result:
        """Run a command on this warehouse, and assert its exit code."""
        result = milestones(*arguments, "--destination", self.destination)
        assert result.exit_code == code, (arguments, result)
        return result

    def json(self, name: str, *arguments: str, code: int = 0) -> Any:  # noqa: ANN401 - any JSON
        """Run a command, and keep and return its JSON value."""
        value = self.run(*name.split(), *arguments, "--json", code=code).value
        self.keep(name, value)
        return value

    def keep(self, name: str, value: Any) -> None:  # noqa: ANN401 - any JSON
        """Keep the JSON value of a command under its name."""
        failed = isinstance(value, dict) and value.get("error")
        self.answers.setdefault("what failed" if failed else name, []).append(value)


@contextmanager
def begun(
    destination: str, folder: Path, account: Account | None = None, postgres: str = ""
) -> Iterator[Life]:
    """Start an account, a webhook and an empty folder to work in.

    Args:
        destination: ``duckdb`` or ``postgres``.
        folder: The working folder of commands.
        account: The account; None for the one of the story, at its start.
        postgres: The URL of the database, for ``postgres`` and for ``move``.
    """
    with (
        Sandbox(account=account or story.new_account()) as sandbox,
        webhook() as hook,
        _settings(folder, sandbox, hook, postgres),
    ):
        yield Life(destination, sandbox, hook)


@contextmanager
def _settings(folder: Path, sandbox: Sandbox, hook: Webhook, postgres: str) -> Iterator[None]:
    before, was_in = dict(os.environ), Path.cwd()
    for name in [name for name in os.environ if name.startswith(OURS)]:
        del os.environ[name]
    os.environ |= {
        "HOME": str(folder),
        "KANTATA_API_URL": sandbox.url,
        "KANTATA_ACCESS_TOKEN": sandbox.token,
        "SOURCES__KANTATA__BACKOFF_SECONDS": "0.01",
        "PUSH__ENABLED": "true",
        "ALERTS__WEBHOOK_URL": hook.url,
    }
    if postgres:
        os.environ["DESTINATION__POSTGRES__CREDENTIALS"] = postgres
    os.chdir(folder)
    try:
        yield
    finally:
        os.chdir(was_in)
        os.environ.clear()
        os.environ.update(before)


def live(life: Life) -> None:
    """Run two syncs, and changes with every final status except ``applying``."""
    life.json("sync")
    story.first_hour(life.account)
    life.json("run", "--only", "sync", code=3)  # one record is rejected
    _propose(life)
    _decide(life)
    story.edit_meanwhile(life.account, _milestone(life, "conflict"), _milestone(life, "no-op"))
    life.json("plan")
    _push(life)
    life.json("plan")
    life.account.advance(story.AFTER_THE_PUSH)
    life.json("approve", life.ids["approved"], "--as", "bob")


def _propose(life: Life) -> None:
    """Propose updates of eight milestones from a file, and the other changes one by one."""
    names = ["applied", "conflict", "no-op", "failed", "unknown", "rejected", "withdrawn", "last"]
    ids = dict(zip(names, story.free(life.account)[3:], strict=False))
    titles = {"no-op": "as asked"}
    lines = [f"{id_},{titles.get(name, f'new {name}')},777" for name, id_ in ids.items()]
    # The no-op proposes an edit that a person makes meanwhile, so only the title.
    lines[names.index("no-op")] = f"{ids['no-op']},as asked,"
    file = Path("changes.csv")
    file.write_text("\n".join(["milestone_id,title,amount_in_cents", *lines]))
    found = life.json("propose", "--from", str(file), "--reason", "agreed", "--as", "ann")
    life.json(
        "propose", "--from", str(file), "--reason", "agreed", "--as", "ann"
    )  # is already proposed
    life.ids = dict(zip(names, (each["change_id"] for each in found), strict=True))
    project = next(iter(life.account.workspaces))
    fields = {"workspace_id": project, "title": "made é", "amount_in_cents": "4200"}
    sets = [word for name, value in fields.items() for word in ("--set", f"{name}={value}")]
    by_ann = ("--reason", "at the end of the year", "--as", "ann")
    life.ids["created"] = life.json("propose create", *sets, *by_ann)["change_id"]
    *_, deleted, approved = story.free(life.account)[:-1]
    life.ids["deleted"] = life.json("propose delete", deleted, *by_ann)["change_id"]
    one = life.json("propose update", approved, "--set", "amount_in_cents=1", *by_ann)
    life.ids["approved"] = one["change_id"]
    select = f"select '{story.free(life.account)[-1]}' as milestone_id, 'asked by SQL' as title"
    (proposed,) = life.json("propose", "--query", select, *by_ann)
    life.ids["proposed"] = proposed["change_id"]


def _decide(life: Life) -> None:
    ids = life.ids
    sent = [ids[n] for n in ("applied", "conflict", "no-op", "failed", "unknown", "last")]
    sent += [ids["created"], ids["deleted"]]
    life.json("approve", *sent, "--as", "bob")
    life.json("reject", ids["rejected"], "--reason", "not agreed", "--as", "bob")
    life.json("withdraw", ids["withdrawn"], "--reason", "a mistake", "--as", "ann")
    life.json("approve", ids["proposed"], "--as", "Ann", code=2)  # Ann proposed it
    life.json("show", "no-such-change", code=2)


def _push(life: Life) -> None:
    """Push, while Kantata refuses one change and loses the answer to another."""
    put = {"method": "PUT", "times": 1}
    life.sandbox.misbehave(
        Fault("refuse", path=f"/{_milestone(life, 'failed')}$", message="No, thank you", **put),
        Fault("drop_after", path=f"/{_milestone(life, 'unknown')}$", **put),
    )
    life.json("push", code=3)
    life.sandbox.behave()
    life.json("reconcile", code=3)  # the unknown outcome must wait


def _milestone(life: Life, name: str) -> str:
    return str(life.json("show", life.ids[name])["milestone_id"])


def run_the_rest(life: Life) -> None:
    """Run every other command that prints JSON, runs that log JSON, and failing commands."""
    life.json("changes")
    life.json("changes", "--all")
    life.json("audit", life.ids["created"])
    life.json("models")
    life.json("checks")
    life.json("check", code=3)  # the clock of this account is its own
    life.json("check", "--probe", code=3)
    story.next_edit(life.account)
    life.json("reconcile")
    _hide_a_project(life)
    life.sandbox.misbehave(Fault("error", path="/billing_milestones$", times=1))
    _run_with_log(life, code=3)
    life.sandbox.behave()
    life.json("sync", code=3)
    _close_a_month(life)
    life.sandbox.misbehave(Fault("refuse", status=401))
    life.json("sync", code=2)
    _run_with_log(life, code=2)
    life.sandbox.behave()
    life.json("status")
    with duckdb.connect(LOADER_FILE) as connection:
        connection.execute("delete from kantata_marts.billing_schedule_monthly")
    life.json("checks", code=1)
    life.json("models")


def _close_a_month(life: Life) -> None:
    """Close a month, show it and reopen it."""
    month = datetime.fromtimestamp(life.account.clock.now(), UTC).strftime("%Y-%m")
    life.account.advance(31 * 86_400)
    life.json("sync", "--full", code=3)
    life.json("close", month, "--as", "kim")
    life.json("close", "--show", month)
    life.json("reopen", month, "--reason", "a mistake", "--as", "kim")
    life.json("close", "--show", month)


def _hide_a_project(life: Life) -> None:
    """Hide a project from the token's user, but not that of the change still to be sent."""
    kept = life.json("show", life.ids["approved"])["workspace_id"]
    life.account.hide_workspace(next(id_ for id_ in life.account.workspaces if id_ != kept))


def _run_with_log(life: Life, code: int) -> None:
    result = life.run("run", "--log-format", "json", "--json", code=code)
    life.keep("run", result.value)
    life.log += [json.loads(line) for line in result.err.splitlines()]


def move(life: Life) -> None:
    """Move the warehouse and its ledger to the configured Postgres."""
    result = milestones("move", "--json")
    assert result.exit_code == 0, result
    life.keep("move", result.value)
