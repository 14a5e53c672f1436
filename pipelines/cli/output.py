"""Lines, amounts and JSON on stdout and stderr."""

from __future__ import annotations

import json
from decimal import Decimal

from rich.console import Console
from rich.markup import escape

from pipelines.runtime.text import visible

# A title is shown as it is: `:100:` is no emoji.
out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)


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
