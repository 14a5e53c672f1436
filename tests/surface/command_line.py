"""The command line: its tree of commands, and a command run in this process.

Only this module imports the command line.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import Enum
from typing import Any

import typer.main
from typer.testing import CliRunner

from pipelines.cli.app import app


@dataclass(frozen=True)
class Result:
    """How a command ended.

    Args:
        exit_code: The exit code of the process.
        out: The text on stdout.
        err: The text on stderr.
    """

    exit_code: int
    out: str
    err: str

    @property
    def value(self) -> Any:  # noqa: ANN401 - any JSON
        """The JSON value on stdout."""
        return json.loads(self.out)


def milestones(*arguments: str) -> Result:
    """Run a command in this process."""
    result = CliRunner().invoke(app, list(arguments))
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return Result(result.exit_code, result.stdout, result.stderr)


def commands() -> dict[str, object]:
    """Every command by its full name, with its arguments and options, without help texts."""
    found: dict[str, object] = {}
    _add(found, "milestones", typer.main.get_command(app))
    return found


def _add(found: dict[str, object], name: str, command: Any) -> None:  # noqa: ANN401 - typer's own
    parameters = command.params
    found[name] = {
        "arguments": [_argument(p) for p in parameters if p.param_type_name == "argument"],
        "options": {
            " ".join([*p.opts, *p.secondary_opts]): _option(p)
            for p in parameters
            if p.param_type_name == "option"
        },
    }
    for sub_name, sub_command in getattr(command, "commands", {}).items():
        _add(found, f"{name} {sub_name}", sub_command)


def _argument(argument: Any) -> dict[str, object]:  # noqa: ANN401 - typer's own
    return {
        "name": argument.metavar or argument.name,
        "type": _type(argument),
        "required": argument.required,
        "nargs": argument.nargs,
        "default": _plain(argument.default),
        "envvar": argument.envvar,
    }


def _option(option: Any) -> dict[str, object]:  # noqa: ANN401 - typer's own
    return {
        "type": _type(option),
        "required": option.required,
        "default": _plain(option.default),
        "is_flag": option.is_flag,
        "multiple": option.multiple,
        "nargs": option.nargs,
        "range": [option.min, option.max],
        "envvar": option.envvar,
        "hidden": option.hidden,
    }


def _type(parameter: Any) -> object:  # noqa: ANN401 - typer's own
    """The type of a parameter; an enum is shown by its values, since its name may change."""
    annotation = parameter.type_descriptor.annotation
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return [member.value for member in annotation]
    return getattr(annotation, "__name__", str(annotation))


def _plain(value: object) -> object:
    return value.value if isinstance(value, Enum) else value
