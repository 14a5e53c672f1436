"""The command line without file locks and with code page 1252, as on Windows.

Nothing here runs on Windows: Python learns at its start that the module is missing, which also
works for a Python that has it built in.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.accounts import open_ids
from tests.support.job import Job

ROOT = Path(__file__).parents[2]


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """An account, synced into a warehouse by a system with file locks."""
    with Sandbox(milestones=30) as sandbox:
        Job("duckdb").synced(sandbox)
        yield sandbox


def milestones(tmp_path: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command where `import fcntl` fails and stdout takes cp1252."""
    modules = tmp_path / "modules"
    modules.mkdir(exist_ok=True)
    (modules / "sitecustomize.py").write_text("import sys\nsys.modules['fcntl'] = None\n")
    return subprocess.run(
        [sys.executable, "-m", "pipelines", *arguments],
        env=os.environ
        | {"PYTHONPATH": f"{modules}{os.pathsep}{ROOT}", "PYTHONIOENCODING": "cp1252"},
        capture_output=True,
        encoding="cp1252",
    )


@pytest.mark.parametrize(
    "arguments",
    [
        ("--help",),
        pytest.param(("--version",), marks=pytest.mark.long),
        pytest.param(("propose", "--help"), marks=pytest.mark.long),
    ],
)
def test_help(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    """The help and the version are shown."""
    result = milestones(tmp_path, *arguments)
    assert (result.returncode, result.stderr) == (0, "")
    assert "milestones" in result.stdout


def test_status_reads_the_published_file(tmp_path: Path, sandbox: Sandbox) -> None:
    """Status reads the published file, since a run may be loading into the other."""
    shown = milestones(tmp_path, "status")
    assert (shown.returncode, shown.stderr) == (0, "")
    source = "30 milestones; milestones.duckdb (this system has no file locks"
    assert source in " ".join(shown.stdout.split())


@pytest.mark.long
def test_check_says_what_cannot_run(tmp_path: Path, sandbox: Sandbox) -> None:
    """The account answers; the warehouse has no lock here."""
    ended = milestones(tmp_path, "check")
    assert (ended.returncode, ended.stderr) == (2, "")
    assert "ok token: valid" in ended.stdout
    (warehouse,) = (line for line in ended.stdout.splitlines() if "warehouse:" in line)
    assert warehouse.startswith("x warehouse:")
    assert "WSL" in warehouse


@pytest.mark.long
def test_changes_are_proposed_and_shown(tmp_path: Path, sandbox: Sandbox) -> None:
    """The ledger works, as it has its own locks; characters outside the code page are escaped."""
    changed = open_ids(sandbox.account)[-1]
    sandbox.account.update_milestone(changed, title="Übergabe → 完了")
    Job("duckdb").sync(sandbox, full=False)
    proposed = milestones(
        tmp_path, "propose", "update", changed, "--set", "title=Abnahme", "--reason", "as agreed"
    )
    shown_change = "title: Übergabe -> \\u5b8c\\u4e86 -> Abnahme"
    assert (proposed.returncode, proposed.stderr.strip()) == (0, shown_change)
    change_id = proposed.stdout.strip()
    approved = milestones(tmp_path, "approve", change_id, "--as", "Ada")
    assert (approved.returncode, approved.stderr) == (0, "")
    for command, text in (
        ("changes", 'title "Übergabe -> \\u5b8c\\u4e86" -> "Abnahme"'),
        ("plan", shown_change),
    ):
        shown = milestones(tmp_path, command)
        assert shown.returncode == 0
        assert change_id in shown.stdout
        assert text in shown.stdout
    shown = milestones(tmp_path, "audit", change_id)
    assert "proposed -> approved" in shown.stdout


@pytest.mark.parametrize(
    "command",
    [
        "run",
        *(
            pytest.param(c, marks=pytest.mark.long)
            for c in ("sync", "push", "reconcile", "models", "demo")
        ),
    ],
)
def test_commands_that_need_a_lock_name_where_they_run(
    tmp_path: Path, sandbox: Sandbox, command: str
) -> None:
    """They print one line and exit with 2, without a request or a write."""
    before = len(sandbox.requests)
    result = milestones(tmp_path, command)
    assert (result.returncode, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith("milestones: this system has no file locks")
    assert "WSL" in line
    assert len(sandbox.requests) == before
