"""How a command ends: every failure is one line, or one JSON value, and its exit code."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import typer

from sources.kantata.errors import KantataError
from warehouse.errors import WarehouseError

from . import show
from .settings import tokens
from .signals import Stopped

ERROR_LOG = Path(".milestones/error.log")


@contextmanager
def ending(as_json: bool) -> Iterator[None]:
    """Turn every failure into one line, or one JSON value, and its exit code."""
    try:
        yield
    except (KantataError, WarehouseError, Stopped) as error:
        _fail(str(error), error.exit_code, as_json)
    except (typer.Exit, typer.BadParameter):
        raise
    except Exception as error:  # a mistake of ours is still told in one line
        where = _keep(traceback.format_exc())
        _fail(f"{type(error).__name__}: {error}".splitlines()[0] + where, 1, as_json)


def _fail(message: str, exit_code: int, as_json: bool) -> None:
    message = _without_token(message)
    if as_json:
        show.print_json({"error": message, "exit_code": exit_code})
    else:
        show.plain(f"milestones: {message}")
    sys.stdout.flush()
    if exit_code > 128:
        os._exit(exit_code)  # a load that would not end in time must not hold the process
    raise typer.Exit(exit_code)


def _keep(trace: str) -> str:
    """Keep a traceback for whoever mends it; gives where."""
    try:
        ERROR_LOG.parent.mkdir(parents=True, exist_ok=True)
        ERROR_LOG.write_text(_without_token(trace))
    except OSError:
        return ""
    return f" (details: {ERROR_LOG})"


def _without_token(text: str) -> str:
    for secret in tokens():
        text = text.replace(secret, "[token]") if len(secret) >= 4 else text
    return text
