"""README, REFERENCE and TABLES are true: their commands work, and what they list exists."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from pathlib import Path

import duckdb
import pytest
from typer.main import get_command
from typer.testing import CliRunner

from pipelines.cli.app import app
from sources.kantata.schema import LOADED
from sources.kantata_sandbox import Sandbox
from tests.support.job import Job
from tests.support.processes import run_milestones
from warehouse.models import build

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "pipelines" / "REFERENCE.md").read_text()
TABLES = (ROOT / "warehouse" / "TABLES.md").read_text()


def blocks(page: str, language: str) -> list[str]:
    """Return a page's code blocks in one language."""
    return re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)


def test_commands_of_a_first_sync_work() -> None:
    """The commands of "Sync your account" run as they are, and the SQL below them returns rows."""
    use = next(block for block in blocks(README, "sh") if "milestones sync" in block)
    export, *lines = use.splitlines()
    name, _, value = shlex.split(export, comments=True)[1].partition("=")
    assert (name, value, len(lines)) == ("KANTATA_ACCESS_TOKEN", "...", 3)
    with Sandbox(milestones=120) as sandbox:
        environment = os.environ | {"KANTATA_API_URL": sandbox.url, name: sandbox.token}
        for line in lines:
            settings, words = simple_command(line)
            result = run_milestones(*words, env=environment | settings)
            assert result.returncode == 0, (line, result.stderr)
    with duckdb.connect("milestones.duckdb", read_only=True) as connection:
        assert len(connection.execute(blocks(README, "sql")[0]).fetchall()) > 4


def test_python_for_analysts_runs(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The Python on the analysts' page reads the published file, and closes it again."""
    monkeypatch.setenv("KANTATA_API_URL", "")
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", "")
    page = (ROOT / "warehouse" / "ANALYSTS.md").read_text()
    indented = [
        re.sub(r"(?m)^  ", "", b) for b in re.findall(r"  ```python\n(.*?)  ```", page, re.S)
    ]
    with Sandbox(milestones=60) as sandbox:
        Job("duckdb").synced(sandbox)
        for block in (*indented, *re.findall(r"(?m)^```python\n(.*?)^```", page, re.DOTALL)):
            exec(block, {})  # noqa: S102 - our own page
            assert re.search(r"\d", capsys.readouterr().out)
        sandbox.account.create_milestone()
        Job("duckdb").sync(sandbox)
    with duckdb.connect("milestones.duckdb", read_only=True) as connection:
        rows = connection.execute(
            "select count(*) from kantata_marts.billing_milestones"
        ).fetchall()
        assert rows == [(61,)]


def simple_command(line: str) -> tuple[dict[str, str], list[str]]:
    """Return the variables that a line of shell sets for `milestones`, and its arguments."""
    before, after = line.split(".venv/bin/milestones")
    return dict(word.split("=", 1) for word in shlex.split(before)), shlex.split(after)


def test_commands_of_writing_back_work() -> None:
    """The commands of "Writing back" change the milestone, once real ids are filled in."""
    page = blocks(REFERENCE, "sh")
    lines = next(block for block in page if "milestones push" in block).splitlines()
    with Sandbox(milestones=60) as sandbox:
        access = {"KANTATA_API_URL": sandbox.url, "KANTATA_ACCESS_TOKEN": sandbox.token}
        account = sandbox.account
        free = next(i for i in account.milestones if not account.invoices_of.get(i))
        change_id = ""
        Job("duckdb").synced(sandbox)
        for line in lines:
            command = line.replace("4711", free).replace("CHANGE_ID", change_id)
            settings, words = simple_command(command)
            result = run_milestones(*words, env=os.environ | access | settings)
            assert result.returncode == 0, (line, result.stderr)
            if " propose " in line:
                change_id = result.stdout.strip()
        assert account.milestones[free]["date_to_invoice"] == "2027-01-31"


def documents() -> list[Path]:
    """Return every page of documentation."""
    names = subprocess.run(
        ["git", "ls-files", "*.md"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    return [ROOT / name for name in names]


def anchors(text: str) -> set[str]:
    """Return the anchors that a Markdown renderer gives a page's headings."""
    headings = re.findall(
        r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE
    )
    plain = (re.sub(r"[^\w\- ]", "", heading.lower()) for heading in headings)
    return {heading.strip().replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("target", ["demo", "test"])
def test_make_targets_exist(target: str) -> None:
    """The set-up commands of the README are targets of the Makefile."""
    assert f"make {target}\n" in README
    subprocess.run(["make", "-n", "-C", str(ROOT), target], check=True, capture_output=True)


@pytest.mark.parametrize("page", ["CONTRIBUTING.md"])
def test_paths_exist(page: str) -> None:
    """Every file and folder that a page names in backticks exists."""
    for name in re.findall(
        r"`((?:pipelines|warehouse|sources|tests)/[\w./-]+)`", (ROOT / page).read_text()
    ):
        if "NAME" not in name:
            assert (ROOT / name).exists(), (page, name)


def listed_commands() -> list[tuple[str, str]]:
    """Return each command of the reference, with the rest of its table cell."""
    rows = re.findall(r"^\| `milestones (\w+)(.*?)\| ", REFERENCE, re.MULTILINE)
    return [(command, rest) for command, rest in rows]


def test_commands_and_options_exist() -> None:
    """Every command and option of the reference is one that the program has."""
    for command, rest in listed_commands():
        words = ["propose", "update"] if "update ID" in rest else [command]
        shown = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"}).output
        for option in re.findall(r"--[a-z]+(?:-[a-z]+)*", rest):
            assert option in shown, (command, option)


def test_every_command_is_listed() -> None:
    """Every command of the program is in the reference."""
    assert set(get_command(app).commands) == {command for command, _ in listed_commands()}


def test_tables_are_listed() -> None:
    """Every raw table and every mart is in TABLES.md."""
    ours = ("sync_runs", "change_requests", "change_events")
    for table in (*LOADED, *ours, *(model.name for model in build.marts())):
        assert f"`{table}`" in TABLES


@pytest.mark.parametrize("page", sorted(str(p.relative_to(ROOT)) for p in documents()))
def test_links_lead_somewhere(page: str) -> None:
    """Every link to a file, and to a heading within one, exists."""
    text = (ROOT / page).read_text()
    for target in re.findall(r"\]\((?!https?://)([^)\s]+)\)", text):
        name, _, anchor = target.partition("#")
        file = (ROOT / page).parent / name if name else ROOT / page
        assert file.exists(), (page, target)
        if anchor and file.suffix == ".md":
            assert anchor in anchors(file.read_text()), (page, target)
