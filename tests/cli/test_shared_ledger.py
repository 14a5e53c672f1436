"""A ledger that a group shares, as the page for operators sets it up: who can do what."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.job import Job
from tests.support.other_user import ANOTHER_USER, run_as_another_user
from tests.support.processes import run_milestones
from tests.support.writing_desk import Desk
from warehouse.ledger.change import Action, Status

PAGE = (Path(__file__).parents[2] / "pipelines" / "PRODUCTION.md").read_text()
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root may become another user")


@pytest.fixture
def desk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A job of root, whose ledger a group shares."""
    with TemporaryDirectory() as folder, Sandbox(milestones=20) as sandbox:
        Path(folder).chmod(0o755)  # only root may enter pytest's own
        monkeypatch.chdir(folder)
        for name, value in {
            "KANTATA_API_URL": sandbox.url,
            "KANTATA_ACCESS_TOKEN": sandbox.token,
            "PUSH__ENABLED": "true",
            "HOME": folder,
        }.items():
            monkeypatch.setenv(name, value)
        job = Job("duckdb")
        job.sync(sandbox)
        desk = Desk(sandbox, job.target.ledger_url)
        desk.proposed(desk.draft(Action.UPDATE))
        (block,) = re.findall(r"```sh\n(chgrp billing .*?)```", PAGE, re.DOTALL)
        script = block.replace("billing", str(ANOTHER_USER))
        subprocess.run(["sh", "-e", "-c", script], check=True)
        yield desk
        monkeypatch.undo()


def test_the_group_proposes_and_approves_and_cannot_hinder_the_job(desk: Desk) -> None:
    """What the group may not do is refused, and leaves no file that the job could not open."""
    with desk.ledger() as ledger:
        (change,) = ledger.changes()
    for words in ("status", "checks", f"approve {change.change_id} --as kim", "audit --verify"):
        done = run_as_another_user(*words.split())
        assert done.returncode == 0, done.stderr
    for words in ("push", "reconcile", "sync", "run", "models"):
        refused = run_as_another_user(words)
        assert (refused.returncode, refused.stdout) == (1, "")
        assert re.search(r"belongs to root: run the command as this user", refused.stderr), words
    assert "no users" in run_as_another_user("console", "user", "list").stdout
    Path(".milestones").chmod(0o700)
    for words in ("push", "reconcile", "sync", "changes"):
        without_access = run_as_another_user(words)
        assert without_access.returncode in (1, 2), words
        assert "Permission denied" in without_access.stderr, words
        assert "Traceback" not in without_access.stderr, words
    for words in ("status", "checks"):
        assert run_as_another_user(words).returncode == 0
    Path(".milestones").chmod(0o2770)
    of_the_group = [
        str(file)
        for file in Path(".milestones").rglob("*")
        if file.stat().st_uid == ANOTHER_USER and not file.stat().st_mode & 0o020
    ]
    assert of_the_group == []
    pushed = run_milestones("push")
    assert pushed.returncode == 0, pushed.stderr
    assert desk.change(change).status is Status.APPLIED
