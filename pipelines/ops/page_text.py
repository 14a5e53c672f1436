"""Values as the report and the console show them, and the environment of their templates."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from jinja2 import BaseLoader, Environment, StrictUndefined
from markupsafe import Markup

from pipelines.runtime.text import visible

from .money import money_text

_NONE = "\N{EN DASH}"
_LONGEST = 120  # characters of a title that are shown


def page_environment(loader: BaseLoader) -> Environment:
    """Return an environment for the templates of pages: whatever they print is escaped.

    Args:
        loader: Finds the templates.
    """
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_printable,
    )
    environment.filters |= {"money": money, "short": _short, "count": _count, "utc": utc_text}
    return environment


def _printable(value: object) -> object:
    """Return a value for a page with what nobody can see in it written as its number."""
    return visible(value) if type(value) is str and not isinstance(value, Markup) else value


def money(amount: Decimal | None, decimals: int) -> str:
    """Return an amount as a page shows it, in the decimals of its currency; a dash for 0."""
    if amount is None:
        return "unknown"
    return money_text(amount, decimals) if amount else _NONE


def _short(text: str) -> str:
    """Return a text of others for a page, shortened."""
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"


def _count(number: int) -> str:
    """Return a number of a page with separators."""
    return f"{number:,}"


def utc_text(moment: datetime) -> str:
    """Return a moment as a page shows it, in UTC."""
    return f"{moment:%Y-%m-%d %H:%M} UTC"
