"""Report the error of a command as one line or one JSON value, and exit with its code."""

from __future__ import annotations

import os
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

import typer

from pipelines.runtime.exit_codes import STOPPED_BY_SIGNAL, ExitCode
from pipelines.runtime.signals import Stopped, on_forced_exit
from warehouse.errors import ChangeRefused, WarehouseError
from warehouse.private_files import is_link_of_others, make_private_file, make_private_folder

from .output import print_err, print_json

if TYPE_CHECKING:
    from pipelines.ops.json_log import JsonLog


@contextmanager
def handle_errors(
    as_json: bool, log: JsonLog | None = None, *, checks_settings: bool = True
) -> Iterator[None]:
    """Check the settings; report any error as one line or one JSON value, and exit with its code.

    Args:
        as_json: Whether to print JSON.
        log: The log that gets the line; None for stderr.
        checks_settings: Whether the command uses the settings, so that they are checked first.
    """
    from pipelines.config.providers import use_named_settings
    from pipelines.config.settings import one_line_errors
    from pipelines.config.start import check_settings
    from sources.kantata.errors import (
        KantataError,
    )  # here: it imports dlt, which --help does not need

    try:
        with on_forced_exit(partial(_report, as_json=as_json, log=log)):
            with one_line_errors("the settings"):
                use_named_settings()
            if checks_settings:
                check_settings()
            yield
    except ChangeRefused as error:
        _fail(str(error), error.exit_code, as_json, log, lines=error.args)
    except (KantataError, WarehouseError, Stopped) as error:
        _fail(str(error), error.exit_code, as_json, log)
    except (typer.Exit, typer.BadParameter):
        raise
    except PermissionError as error:
        _fail(_no_right(error), ExitCode.FAILED, as_json, log)
    except Exception as error:  # a bug is still reported in one line
        where = save_traceback(traceback.format_exc())
        message = _described(error) + where
        _fail(message, ExitCode.FAILED, as_json, log)


def _no_right(error: PermissionError) -> str:
    """Return one line about a file that this user may not use."""
    return (
        f"cannot use {error.filename}: {error.strerror}. Run the command as the owner of the file, "
        "or let the owner share it with a group"
    )


def _described(error: BaseException) -> str:
    """Return an unexpected error of a command in one line, with its innermost cause."""
    innermost = error
    while (inner := innermost.__cause__ or innermost.__context__) is not None:
        innermost = inner
    lines = [
        f"{type(each).__name__}: {each}".splitlines()[0]
        for each in dict.fromkeys((error, innermost))
    ]
    return ", because of ".join(lines)


def _fail(
    message: str,
    exit_code: int,
    as_json: bool,
    log: JsonLog | None,
    lines: Sequence[object] = (),
) -> None:
    """Report an error of a command, and exit with its code."""
    _report(message, exit_code, as_json, log, lines)
    if exit_code in STOPPED_BY_SIGNAL:
        os._exit(exit_code)  # a load that does not end must not keep the process
    raise typer.Exit(exit_code)


def _report(
    message: str,
    exit_code: int,
    as_json: bool,
    log: JsonLog | None,
    lines: Sequence[object] = (),
) -> None:
    """Report an error of a command, with secrets masked, as lines or as JSON."""
    from pipelines.config.secrets import mask_secrets  # here: it imports dlt

    message = mask_secrets(message)
    if log is not None:
        log.end(exit_code, error=message)
    if as_json:
        print_json({"error": message, "exit_code": exit_code})
    elif log is None:
        first, *others = map(mask_secrets, map(str, lines or (message,)))
        for line in (f"milestones: {first}", *(f"  {other}" for other in others)):
            print_err(line)


def save_traceback(trace: str) -> str:
    """Save the traceback of an unexpected error; return words that say where, or none."""
    from pipelines.config.secrets import mask_secrets  # here: it imports dlt
    from pipelines.config.targets import ERROR_LOG

    try:
        if is_link_of_others(ERROR_LOG):
            return f" (details are not saved: {ERROR_LOG} is a link of another user)"
        make_private_folder(ERROR_LOG.parent)
        make_private_file(ERROR_LOG)
        ERROR_LOG.write_text(mask_secrets(trace), encoding="utf-8", errors="backslashreplace")
    except OSError:
        return ""
    return f" (details: {ERROR_LOG})"
