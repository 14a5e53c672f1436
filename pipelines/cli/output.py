"""Print lines, amounts and JSON on stdout and stderr."""

from __future__ import annotations

import json
from decimal import Decimal

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from pipelines.runtime.text import visible

# No emoji: a title such as `:100:` is shown as it is.
out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)


def print_err(line: str) -> None:
    """Print one line of output on stderr without wrapping it."""
    err.print(visible(line), markup=False, soft_wrap=True)


def print_out(line: str) -> None:
    """Print one line of output on stdout without wrapping it."""
    out.print(visible(line), markup=False, soft_wrap=True)


def print_whole(table: Table) -> None:
    """Print a table on stdout without shortening its output, however narrow the terminal is."""
    wide = out.options.update(width=10_000)
    width = max(out.width, out.measure(table, options=wide).maximum)
    Console(highlight=False, emoji=False, width=width).print(table, crop=False)


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
    print(json.dumps(value, indent=2, default=str), flush=True)


def print_nothing(why: Exception, as_json: bool) -> None:
    """Print an output without changes, and on the standard error why there are none."""
    print_err(str(why))
    if as_json:
        print_json([])
