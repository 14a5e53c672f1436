"""Print lines, amounts and JSON on stdout and stderr."""

from __future__ import annotations

import codecs
import io
import json
import os
import sys
from contextlib import suppress
from decimal import Decimal

from rich.console import Console
from rich.markup import escape

from pipelines.runtime.text import visible


# No emoji: a title such as `:100:` is shown as it is.
class _Console(Console):
    """The output to a terminal, file or pipe; a pipe that nobody reads any more changes nothing."""

    def on_broken_pipe(self) -> None:
        """Discard the rest of the output; what the command does, and its exit code, stay."""
        discard_broken_output()


out = _Console(highlight=False, emoji=False)
err = _Console(stderr=True, highlight=False, emoji=False)
# ASCII for characters of our messages that a code page such as cp1252 lacks.
_ASCII = {"→": "->", "✓": "ok", "✗": "x", "…": "...", "•": "*"}
_BLOCKS = {chr(code): "#" for code in range(0x2588, 0x2590)}  # of a bar chart
_HANDLER = "milestones.ascii"


def replace_unencodable() -> None:
    """Make the output, stdout and stderr, write characters that its encoding lacks as ASCII."""
    codecs.register_error(_HANDLER, _ascii_form)
    for stream in (sys.stdout, sys.stderr):
        if (
            not isinstance(stream, io.TextIOWrapper)
            or codecs.lookup(stream.encoding).name == "utf-8"
        ):
            continue  # it can write every character
        # An error handler that the user chose, such as PYTHONIOENCODING=ascii:ignore, stays.
        if stream.errors in ("strict", "backslashreplace"):
            stream.reconfigure(errors=_HANDLER)


def _ascii_form(error: UnicodeError) -> tuple[str, int]:
    """Return the ASCII form of characters that the output cannot encode, and where they end."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    forms = (
        (_ASCII | _BLOCKS).get(c) or c.encode("ascii", "backslashreplace").decode()
        for c in characters
    )
    return "".join(forms), error.end


def discard_broken_output() -> None:
    """Discard the output that is left for a pipe that nobody reads any more."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (BrokenPipeError, ValueError):
            with suppress(OSError, ValueError):
                null = os.open(os.devnull, os.O_WRONLY)
                os.dup2(null, stream.fileno())
                os.close(null)


def print_err(line: str) -> None:
    """Print one or more lines of output on stderr without wrapping them."""
    for each in line.split("\n"):
        err.print(visible(each), markup=False, soft_wrap=True)


def print_out(line: str) -> None:
    """Print one line of output on stdout without wrapping it."""
    out.print(visible(line), markup=False, soft_wrap=True)


def format_amount(subunits: int, unit: Decimal | None) -> str:
    """Return an amount for the output: in its currency, or in minor units if it has no unit."""
    return f"{subunits:,} minor units" if unit is None else f"{subunits * unit.normalize():,f}"


def exact_amount(subunits: int, unit: Decimal | None) -> str | None:
    """Return an amount as text for JSON output, since JSON numbers round; None without a unit."""
    return None if unit is None else f"{subunits * unit.normalize():f}"


def safe_markup(text: str) -> str:
    """Return foreign text escaped for the output as rich markup."""
    return escape(visible(text))


def print_json(value: object) -> None:
    """Print one JSON value as output on stdout."""
    try:
        print(json.dumps(value, indent=2, default=str), flush=True)
    except BrokenPipeError:
        discard_broken_output()


def print_nothing(why: Exception, as_json: bool) -> None:
    """Print an output without changes, and on the standard error why there are none."""
    print_err(str(why))
    if as_json:
        print_json([])
