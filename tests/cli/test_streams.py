"""What becomes of the output changes neither what a command does nor its exit code."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.equality import assert_equal
from tests.support.job import Job
from tests.support.processes import COMMAND, ROOT


@pytest.fixture
def sandbox(monkeypatch: pytest.MonkeyPatch) -> Iterator[Sandbox]:
    """An account, synced once, with a character that ASCII lacks."""
    with Sandbox(milestones=30) as sandbox:
        Job("duckdb").synced(sandbox)
        sandbox.account.user["full_name"] = "Zoë"
        monkeypatch.setenv("KANTATA_API_URL", sandbox.url)
        monkeypatch.setenv("KANTATA_ACCESS_TOKEN", sandbox.token)
        monkeypatch.setenv("PYTHONPATH", str(ROOT))
        yield sandbox


def test_an_encoding_that_lacks_characters(
    sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They are written in ASCII."""
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    shown = subprocess.run([*COMMAND, "check"], capture_output=True, text=True, check=True)
    assert "ok token: valid: it is the token of Zo\\xeb" in shown.stdout
    assert shown.stderr == ""


@pytest.mark.long
def test_closed_streams(sandbox: Sandbox) -> None:
    """A run without stdout and stderr writes into no file that it opens."""
    sandbox.account.create_milestone(title="new")
    ended = subprocess.run(["sh", "-c", 'exec "$@" >&- 2>&-', "sh", *COMMAND, "run"], check=False)
    assert ended.returncode == 0
    assert_equal(Job("duckdb"), sandbox.account)
