"""The report: one HTML file for people without a terminal. It loads nothing and runs no script."""

from __future__ import annotations

import html
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from functools import cache
from importlib.metadata import version
from pathlib import Path

from jinja2 import Environment, PackageLoader

from pipelines.runtime.exit_codes import ExitCode
from warehouse.account import AccountBinding, bound_account
from warehouse.errors import WarehouseMisconfigured
from warehouse.models.metrics import metrics
from warehouse.reader import open_reader
from warehouse.target import Target

from .charts import Chart, Column, column_chart
from .currency_figures import CurrencyFigures, MonthFigures
from .figures import Figures, read_figures
from .output_file import replace_file
from .page_text import page_environment

DEFAULT_FILE = Path("milestones-report.html")
_META = re.compile(r'<meta name="milestones-report" content="([^"]*)">')
_HEAD = 16_384  # characters at the beginning of a report, among which is its meta element
# Two drawings of each chart: the page shows the one that fits.
_SIZES = (("wide", 760, 260), ("narrow", 340, 220))
_AGES = ("0 to 30 days", "31 to 60 days", "61 to 90 days", "over 90 days")
_STEPS = ("new", "increased", "decreased", "invoiced", "deleted")


@dataclass(frozen=True)
class ReportState:
    """What a report says of itself, for the report that replaces it.

    Args:
        account: The account, as text.
        observed_at: When the latest version in it was observed, UTC.
        read_up_to: Kantata's time up to which it was complete, UTC.
    """

    account: str
    observed_at: datetime
    read_up_to: datetime


def check_report(path: Path) -> tuple[str, int]:
    """Check that the configured report can be written; return a line on it, and an exit code."""
    try:
        _read_state(path)
    except WarehouseMisconfigured as error:
        return str(error), error.exit_code
    folder = path.absolute().parent
    if not os.access(folder, os.W_OK):
        return (
            f"cannot write {path}: create its folder, correct its permissions, or set REPORT__PATH "
            "to another file",
            ExitCode.ACTION_REQUIRED,
        )
    return f"{path.absolute()} is written after each published run", ExitCode.DONE


def write_report(target: Target, file: Path) -> Figures:
    """Write the report of a warehouse to a file, which is replaced in one step.

    It lists what changed since the report that it replaces.

    Args:
        target: The warehouse.
        file: The file; a report of before, or one that does not exist.

    Returns:
        Its figures.

    Raises:
        WarehouseError: If no run was validated yet, the warehouse cannot be read, or the file
            cannot be written; the file is as before then.
        WarehouseMisconfigured: If the file exists and is no report.
    """
    before = _read_state(file)
    with open_reader(target) as reader:
        if before and before.account != _account_text(bound_account(reader)):
            before = None
        figures = read_figures(reader, before.observed_at if before else None)
    page = render_report(figures, before)
    replace_file(file, lambda new: new.write_text(page, encoding="utf-8"))
    return figures


def render_report(figures: Figures, before: ReportState | None = None) -> str:
    """Return the report of figures as HTML.

    Args:
        figures: The figures.
        before: The report that it replaces; None for changes of the last days.
    """
    state = {
        "account": _account_text(figures.account),
        "observed_at": figures.observed_at.isoformat() if figures.observed_at else None,
        "read_up_to": figures.freshness.read_up_to.isoformat(),
    }
    template = _environment().get_template("report.html")
    return template.render(
        figures=figures,
        fresh=figures.freshness,
        before=before,
        metrics=metrics(),
        state=json.dumps(state),
        version=version("milestones"),
        month_charts=month_charts,
        age_charts=age_charts,
        bridge_charts=bridge_charts,
    )


def _account_text(account: AccountBinding | None) -> str:
    """Return the account of a report as text, for people and to compare it."""
    return str(account) if account else "unknown account"


def _read_state(file: Path) -> ReportState | None:
    """Return what the report in a file says of itself; None if there is no file.

    Raises:
        WarehouseMisconfigured: If the file is something else.
    """
    try:
        with file.open(encoding="utf-8", errors="replace") as stream:
            found = _META.search(stream.read(_HEAD))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise WarehouseMisconfigured(f"cannot write {file}: {error.strerror}") from None
    if found is None:
        raise WarehouseMisconfigured(
            f"{file} is not a report of milestones, so it is not replaced: name another file"
        )
    try:
        values = json.loads(html.unescape(found[1]))
        times = (datetime.fromisoformat(values[name]) for name in ("observed_at", "read_up_to"))
        state = ReportState(str(values["account"]), *times)
    except (ValueError, TypeError, KeyError):
        return None  # of an empty account, or of another release
    return state if state.observed_at.tzinfo and state.read_up_to.tzinfo else None


@cache
def _environment() -> Environment:
    """Return the environment of the report's template: whatever it prints is escaped."""
    return page_environment(PackageLoader("pipelines.ops"))


def month_charts(currency: CurrencyFigures) -> list[tuple[str, Chart]]:
    """Return the report's charts of a currency's months, for a wide and a narrow page."""
    return _charts([_month_column(month) for month in currency.months if " " not in month.name])


def _month_column(month: MonthFigures) -> Column:
    """Return the column of a month in the report's chart."""
    kinds = ("invoiced", "overdue", "scheduled")
    return Column(
        name=month.name, parts={kind: getattr(month, kind) or Decimal(0) for kind in kinds}
    )


def age_charts(currency: CurrencyFigures) -> list[tuple[str, Chart]]:
    """Return the report's charts of what can be invoiced now, by age; none if it is unknown."""
    ages = currency.due_total.ages
    if any(age is None for age in ages):
        return []
    return _charts(
        [
            Column(name=name, parts={"overdue": age or Decimal(0)})
            for name, age in zip(_AGES, ages, strict=True)
        ]
    )


def bridge_charts(currency: CurrencyFigures) -> list[tuple[str, Chart]]:
    """Return the report's waterfall of a currency's bridge; none if its amounts are unknown."""
    rows = currency.bridge
    if not rows or rows[0].opening is None or rows[-1].closing is None:
        return []
    level = rows[0].opening
    columns = [Column(name="opening", parts={"level": level})]
    for step in _STEPS:
        amount = sum((getattr(row, step) for row in rows), Decimal(0))
        moved = amount if step in ("new", "increased") else -amount
        kind = "up" if moved >= 0 else "down"
        columns.append(Column(name=step, parts={kind: moved}, start=level))
        level += moved
    return _charts([*columns, Column(name="closing", parts={"level": level})])


def _charts(columns: list[Column]) -> list[tuple[str, Chart]]:
    """Return the report's charts of the same columns, each with its CSS class."""
    if not columns:
        return []
    draw: Callable[..., Chart] = column_chart
    return [(name, draw(columns, width=width, height=height)) for name, width, height in _SIZES]
