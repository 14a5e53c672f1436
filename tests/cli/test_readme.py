"""The README is true: what it tells people to run works, and what it lists exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest
from typer.testing import CliRunner

from pipelines.cli.app import app
from sources.kantata.schema import LOADED
from sources.kantata_sandbox import Sandbox
from tests.support.processes import run_milestones
from warehouse.models import build

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The code blocks of one language."""
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def test_commands_of_use_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """The commands of "Use it" run as they stand, and the SQL below them gives rows."""
    use = next(block for block in blocks("sh") if "milestones sync" in block)
    with Sandbox(milestones=120) as sandbox:
        script = use.replace("=...", f"={sandbox.token}").replace(
            ".venv/bin/milestones", f"{sys.executable} -m pipelines.cli"
        )
        environment = os.environ | {"KANTATA_API_URL": sandbox.url, "PYTHONPATH": str(ROOT)}
        result = subprocess.run(
            ["sh", "-e", "-c", script], env=environment, capture_output=True, text=True, check=False
        )
    assert result.returncode == 0, result.stderr
    with duckdb.connect("milestones.duckdb", read_only=True) as connection:
        assert len(connection.execute(blocks("sql")[0]).fetchall()) > 4


def simple_command(line: str) -> tuple[dict[str, str], list[str]]:
    """The variables that a line of shell sets for `milestones`, and the words it gives it."""
    before, after = line.split(".venv/bin/milestones")
    return dict(word.split("=", 1) for word in shlex.split(before)), shlex.split(after)


def test_commands_of_writing_back_work() -> None:
    """The commands of "Writing back" change what they say, with ids put in."""
    lines = next(block for block in blocks("sh") if "milestones push" in block).splitlines()
    with Sandbox(milestones=120) as sandbox:
        access = {"KANTATA_API_URL": sandbox.url, "KANTATA_ACCESS_TOKEN": sandbox.token}
        account = sandbox.account
        free = next(i for i in account.milestones if not account.invoices_of.get(i))
        change_id = ""
        for line in [".venv/bin/milestones sync", *lines]:
            command = line.replace("4711", free).replace("CHANGE_ID", change_id)
            settings, words = simple_command(command)
            result = run_milestones(*words, env=os.environ | access | settings)
            assert result.returncode == 0, (line, result.stderr)
            if " propose " in line:
                change_id = result.stdout.strip()
        assert account.milestones[free]["date_to_invoice"] == "2027-01-31"


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_targets_exist(target: str) -> None:
    """The set-up commands are targets that make knows."""
    assert f"make {target}\n" in README
    subprocess.run(["make", "-n", "-C", str(ROOT), target], check=True, capture_output=True)


def test_commands_and_options_exist() -> None:
    """Every command and option of the table is one the program has."""
    for command, options in re.findall(r"^\| `milestones (\w+)([^`]*)`", README, re.MULTILINE):
        if command == "propose":
            command = "propose update"
        shown = CliRunner().invoke(app, [*command.split(), "--help"], env={"COLUMNS": "200"}).output
        for option in re.findall(r"--[a-z]+", options):
            assert option in shown, (command, option)


def test_tables_are_listed() -> None:
    """Every raw table and every mart is in the README."""
    ours = ("sync_runs", "change_requests", "change_events")
    for table in (*LOADED, *ours, *(model.name for model in build.marts())):
        assert f"`{table}`" in README
