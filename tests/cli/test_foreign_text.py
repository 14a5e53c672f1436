"""Texts of the account and of the API change no terminal, forge no line and contain no secret."""

from __future__ import annotations

import json
import os
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from pipelines.cli.app import app
from pipelines.runtime.text import change_texts
from sources.kantata_sandbox import Account, Fault, Sandbox
from tests.support.job import Job
from tests.support.webhook import Webhook, webhook
from tests.support.writing_desk import Desk
from warehouse.ledger.change import Action, Change

# A title and a colour, a control sequence in one character, line ends, marks of direction.
ODD = "\x1b]0;x\x07\x1b[31mRED\x9b\r\n• forged\u2028forged\x85forged\u202e\u2066\u200b"
TOKEN, WRITE_TOKEN = "read-token/8f1c", "write-token/77aa"
TOKENS = {"KANTATA_ACCESS_TOKEN": TOKEN, "KANTATA_WRITE_TOKEN": WRITE_TOKEN}
SAID = f"\0{ODD} {WRITE_TOKEN} ".ljust(290, "x") + WRITE_TOKEN  # a message is cut within the last


class Faces:
    """Runs commands, and looks at all that they print."""

    def __init__(self, job: Job, sandbox: Sandbox, hook: Webhook) -> None:
        self.job, self.sandbox, self.hook = job, sandbox, hook
        self._environment = os.environ | TOKENS | {
            "KANTATA_API_URL": sandbox.url,
            "ALERTS__WEBHOOK_URL": hook.url,
            "WAREHOUSE__DESTINATION": job.name,
            "SOURCES__KANTATA__SCAN_EVERY": "0s",
            "PUSH__ENABLED": "true",
            "PUSH__RECONCILE_AFTER": "0",
        }  # fmt: skip

    def run(self, *words: str, code: int = 0) -> str:
        """Return what a command prints on stdout; it must end with this exit code."""
        result = CliRunner().invoke(app, words, env=self._environment)
        shown, logged = result.stdout_bytes.decode(), result.stderr_bytes.decode()
        assert result.exit_code == code, (words, shown, logged, result.exception)
        for text in (shown, logged):
            assert_harmless(text)
        if "--log-format" in words:  # other programs print the texts in it
            for line in logged.splitlines():
                change_texts(json.loads(line), _harmless)
        return shown

    def json(self, *words: str, code: int = 0) -> Any:  # noqa: ANN401 - any JSON
        """Return the JSON that a command prints."""
        return json.loads(self.run(*words, "--json", code=code))


def assert_harmless(text: str) -> None:
    """Assert that text has no invisible character but our line ends, no forged line, no secret."""
    found = {c for c in text if unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp")}
    assert found <= {"\n"}, (found, text)
    assert not any(line.startswith(("forged", "• forged")) for line in text.splitlines()), text
    assert not any(token in text for token in TOKENS.values()), text


def _harmless(text: str) -> str:
    assert_harmless(text)
    return text


def make_odd(account: Account) -> None:
    """Make every text of an account odd, and reject one record."""
    account.user["full_name"] = ODD
    for currency in account.currencies.values():
        if currency["iso_code"] == "EUR":
            currency["iso_code"] = ODD
    for project in account.workspaces:
        account.update_workspace(project, title=ODD)
    for number, (id_, record) in enumerate(account.milestones.items()):
        currency = ODD if record["currency"] == "EUR" else record["currency"]
        account.silently_update_milestone(id_, title=f"{ODD}{number}", currency=currency)
    account.add_field(f"new{ODD}", ODD)
    account.set_raw(next(iter(account.milestones)), "amount_in_cents", f"\0{ODD}{TOKEN}")


@pytest.fixture
def faces(job: Job) -> Iterator[Faces]:
    """The command line, with a warehouse of an account in which every text is odd."""
    with Sandbox(milestones=40, token=TOKEN) as sandbox, webhook() as hook:
        make_odd(sandbox.account)
        faces = Faces(job, sandbox, hook)
        faces.run("sync", code=3)
        yield faces


@pytest.mark.long
def test_no_face_passes_it_on(faces: Faces) -> None:
    """Every command shows numbers for what cannot be seen, masks secrets, and has exact JSON."""
    assert "\\x1b[31mRED" in faces.run("check")
    assert ODD in faces.json("check")[0]["answer"]
    assert "\\x1b" in faces.run("status")
    assert ODD in {month["currency"] for month in faces.json("status")["months"]}
    for command in ("models", "checks"):
        faces.run(command)
    desk = Desk(faces.sandbox, faces.job.target.ledger_url)
    refused = desk.approved(desk.draft(Action.UPDATE))
    _push(faces, refused)
    desk.approved(desk.draft(Action.UPDATE))
    faces.sandbox.misbehave(Fault("refuse", method="PUT", status=401, message=SAID))
    assert "[secret]" in faces.json("push", code=2)["error"]
    faces.sandbox.behave()
    _run(faces)
    for file in filter(Path.is_file, Path().glob("**/*")):
        assert WRITE_TOKEN[:8].encode() not in file.read_bytes(), file


def _push(faces: Faces, change: Change) -> None:
    faces.sandbox.misbehave(Fault("refuse", method="PUT", status=422, message=SAID))
    faces.run("plan")
    faces.run("push", code=3)
    faces.sandbox.behave()
    for command in ("show", "audit"):
        faces.run(command, change.change_id)
        assert "[secret]" in json.dumps(faces.json(command, change.change_id))
    faces.run("approve", change.change_id, "--as", f"bob{ODD}", code=2)


def _run(faces: Faces) -> None:
    faces.sandbox.misbehave(Fault("refuse", method="PUT", status=422, message=SAID))
    faces.run("run", "--log-format", "json", code=3)
    faces.sandbox.misbehave(Fault("error", status=500, message=f"\0{ODD}{TOKEN}"))
    faces.run("run", code=75)
    faces.sandbox.behave()
    faces.sandbox.account.update_currency(ODD, 1000)
    assert f"one {ODD} had" in faces.json("run", code=3)["error"]
    pushed, currency = faces.hook.texts
    for alert in (pushed, currency):
        assert_harmless(alert)
    assert "[secret]" in pushed
