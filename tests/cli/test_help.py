"""The help, the version and completion need no account, warehouse or setting."""

from __future__ import annotations

import importlib.metadata
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main
from typer.testing import CliRunner

from pipelines.cli.app import app
from pipelines.cli.help import GROUPS, MORE_EXAMPLES, SUBCOMMANDS

ROOT = typer.main.get_command(app)


def tree(command: Any = ROOT, name: str = "") -> Iterator[str]:  # noqa: ANN401 - typer's own
    """Yield the full name of each command, without `milestones`; first that of the root."""
    yield name
    for sub_name, sub_command in getattr(command, "commands", {}).items():
        yield from tree(sub_command, f"{name} {sub_name}".strip())


NAMES = list(tree())


def invoke(*arguments: str) -> str:
    """Run a command that succeeds; return what it prints."""
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.output
    return result.output


@pytest.mark.parametrize("name", NAMES)
def test_flags_take_no_value(name: str) -> None:
    """The help shows no flag with a value, such as `--json <bool>`."""
    for option in ("-h", "--help"):
        assert "<bool>" not in invoke(*name.split(), option)


def test_commands_are_grouped_in_order() -> None:
    """Every command is in a group: otherwise the help shows it last, without an example."""
    of_groups = [name for examples in GROUPS.values() for name in examples]
    top = [name for name in NAMES if name and " " not in name]
    assert sorted(of_groups) == sorted(top)
    below = [name for name in NAMES if " " in name and name != "console user"]
    assert sorted(SUBCOMMANDS) == sorted(below)
    shown = invoke("--help")
    places = [shown.index(f"│ {name} ") for name in of_groups]
    assert places == sorted(places)
    for group in GROUPS:
        assert group in shown


@pytest.mark.parametrize(
    ("name", "example"),
    [
        *((name, example) for examples in GROUPS.values() for name, example in examples.items()),
        *SUBCOMMANDS.items(),
        *MORE_EXAMPLES.items(),
    ],
)
def test_each_example_is_a_command(name: str, example: str) -> None:
    """Each example is in the help of its command, which accepts its options."""
    program, *words = shlex.split(example)
    assert program == "milestones"
    context, command = ROOT.make_context(program, words), ROOT
    for part in name.split():
        part_, command, words = command.resolve_command(context, words)  # type: ignore[attr-defined]
        assert part_ == part
        context = command.make_context(part, words, parent=context)
        words = [*context._protected_args, *context.args]
    assert words == []
    shown = " ".join(invoke(*name.split(), "--help").split())
    assert f"Example: {example}" in shown


def test_a_bare_command_shows_the_help() -> None:
    """Without arguments, `milestones` prints the help."""
    assert invoke() == invoke("--help")


def test_the_version() -> None:
    """`--version` prints the version of the installed package."""
    assert invoke("--version") == f"milestones {importlib.metadata.version('milestones')}\n"


def test_as_a_module() -> None:
    """`python -m pipelines` runs `milestones`."""
    command = [sys.executable, "-m", "pipelines", "--version"]
    root = Path(__file__).parents[2]
    shown = subprocess.run(command, capture_output=True, text=True, cwd=root, check=True).stdout
    assert shown == invoke("--version")


def test_completion() -> None:
    """A shell can complete commands."""
    shown = CliRunner().invoke(
        app,
        prog_name="milestones",
        env={
            "_MILESTONES_COMPLETE": "complete_bash",
            "COMP_WORDS": "milestones wi",
            "COMP_CWORD": "1",
        },
    )
    assert shown.output.split() == ["withdraw"]


def test_help_imports_nothing_heavy() -> None:
    """It answers at once: what a command needs is imported when it runs."""
    heavy = ["dlt", "duckdb", "pyarrow", "sqlalchemy", "requests", "pendulum", "starlette"]
    code = (
        "import sys\n"
        "from pipelines.cli.app import app\n"
        "app(['--help'], standalone_mode=False)\n"
        f"print(sorted(set({heavy}) & set(sys.modules)), file=sys.stderr)"
    )
    root = Path(__file__).parents[2]
    ended = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert ended.stderr == "[]\n"
