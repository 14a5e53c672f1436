"""Lines, amounts and JSON on stdout and stderr."""

from __future__ import annotations

import codecs
import io
import json
import sys
from decimal import Decimal

from rich.console import Console
from rich.markup import escape

from pipelines.runtime.text import visible

# A title is shown as it is: `:100:` is no emoji.
out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)
# What stands for characters of ours that a code page such as cp1252 does not have.
_ASCII = {"→": "->", "✓": "ok", "✗": "x", "…": "...", "•": "*"}
_BLOCKS = {chr(code): "#" for code in range(0x2588, 0x2590)}  # of a bar
_HANDLER = "milestones.ascii"


def replace_unencodable() -> None:
    """Have stdout and stderr write what their encoding does not have in ASCII, not fail on it."""
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
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    forms = (
        (_ASCII | _BLOCKS).get(c) or c.encode("ascii", "backslashreplace").decode()
        for c in characters
    )
    return "".join(forms), error.end


def print_err(line: str) -> None:
    """A line on stderr, or some, each whole, whatever the terminal's width."""
    for each in line.split("\n"):
        err.print(visible(each), markup=False, soft_wrap=True)


def print_out(line: str) -> None:
    """One line on stdout, whole."""
    out.print(visible(line), markup=False, soft_wrap=True)


def format_amount(subunits: int, unit: Decimal | None) -> str:
    """An amount in its currency's own decimals; subunits if its unit is unknown."""
    return f"{subunits:,} subunits" if unit is None else f"{subunits * unit.normalize():,f}"


def exact_amount(subunits: int, unit: Decimal | None) -> str | None:
    """An amount as JSON has it: text, since JSON numbers round; null if its unit is unknown."""
    return None if unit is None else f"{subunits * unit.normalize():f}"


def safe_markup(text: str) -> str:
    """A text of others within markup of ours."""
    return escape(visible(text))


def print_json(value: object) -> None:
    """One JSON value on stdout."""
    print(json.dumps(value, indent=2, default=str))
