"""Render the status of the warehouse as tables, or as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import NamedTuple

import pendulum
from rich.table import Table

from pipelines.ops.money import add, exact_money, money_text
from pipelines.ops.status import MonthTotal, Status
from warehouse.raw.lake_copies import Copied
from warehouse.raw.runs import Run, RunStatus
from warehouse.words import counted

from . import output
from .output import safe_markup

_PAST, _COMING = 3, 9  # months shown one by one; the others are summed


def render_status(found: Status) -> None:
    """Print the status of the warehouse."""
    if found.proven and found.validated_at:
        finished = pendulum.instance(found.validated_at)
        live = sum(month.milestones for month in found.months)  # without those a push deleted
        line = f"[green]validated {finished.diff_for_humans()}[/] ({finished:%Y-%m-%d %H:%M %Z})"
        output.out.print(f"{line}, {counted(live, 'milestone')}; {safe_markup(found.source)}")
    else:
        output.out.print(f"[yellow]no run was validated yet[/]; {safe_markup(found.source)}")
    if found.lake:
        output.out.print(_lake_line(found.lake), soft_wrap=True)
    output.out.print(_runs_table(found.runs))
    for line, when in _messages(found.runs).items():
        output.out.print(f"[yellow]{when}[/] {safe_markup(line)}", soft_wrap=True)
    if found.months:
        output.out.print(_months_table(found))


def _lake_line(lake: Copied) -> str:
    """Return the line of the status about the copy to the lake."""
    shown = f"lake: {safe_markup(lake.url)} "
    if lake.copied_at is None:
        shown += "[yellow]has no run yet[/]"
    else:
        copied = pendulum.instance(lake.copied_at)
        shown += (
            f"has run {lake.run_id}, copied {copied.diff_for_humans()} ({copied:%Y-%m-%d %H:%M %Z})"
        )
    if lake.failing_since is None:
        return shown
    since = f"{lake.failing_since:%Y-%m-%d %H:%M} UTC"
    return (
        f"{shown}; [yellow]copying has failed since {since}:[/] {safe_markup(lake.problem or '')}"
    )


def _runs_table(latest: list[Run]) -> Table:
    """Return the table of the last runs in the status, a row each."""
    table = Table(box=None, title="last runs", title_justify="left", padding=(0, 1, 0, 0))
    for name in ("run", "status", "mode"):
        table.add_column(name, no_wrap=True)
    for name in ("read", "added", "changed", "rejected", "requests", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in latest:
        colour = "green" if run.status is RunStatus.PROVEN else "red"
        is_unfinished = run.status is RunStatus.RUNNING
        numbers = (run.rows_read, run.added, run.changed, run.rejected, run.requests)
        table.add_row(
            f"{run.started_at:%Y-%m-%d %H:%M}",
            f"[{colour}]{'running, or killed' if is_unfinished else run.status}[/]",
            "not known yet" if run.mode == "undecided" else run.mode,
            *(f"{n:,}" for n in numbers),
            f"{run.duration_seconds:.1f}",
        )
    return table


def _messages(latest: list[Run]) -> dict[str, str]:
    """Return the errors and warnings of the last runs for the status, with the newest time."""
    times: dict[str, str] = {}
    for run in latest:
        for line in [run.error] if run.error else run.warnings:
            times.setdefault(line, f"{run.started_at:%Y-%m-%d %H:%M}")
    return times


def _months_table(found: Status) -> Table:
    """Return the status's table of amounts by month: all earlier, each near one, all later."""
    currencies = sorted({month.currency for month in found.months})
    table = Table(
        "date to invoice", box=None, title="billing milestones by month", title_justify="left"
    )
    for currency in currencies:
        table.add_column(safe_markup(currency), justify="right")
    sums: dict[str, dict[str, list[_Sum]]] = {}
    for month in found.months:
        for period, part in _periods(month, found.as_of or date.today()).items():
            sums.setdefault(period, {}).setdefault(month.currency, []).append(part)
    for name, line in sums.items():
        cells = (_shown(line[c], found.decimals[c]) if c in line else "" for c in currencies)
        table.add_row(name, *cells)
    return table


class _Sum(NamedTuple):
    """A sum in the status: in minor units, and in money if the minor unit is known."""

    subunits: int
    amount: Decimal | None


def _shown(parts: Sequence[_Sum], decimals: int) -> str:
    """Return the sum of some parts of a currency as the status shows it."""
    amount = add(*(part.amount for part in parts))
    if amount is None:
        return f"{sum(part.subunits for part in parts):,} minor units"
    return money_text(amount, decimals)


def _periods(month: MonthTotal, today: date) -> dict[str, _Sum]:
    """Return the lines of the status to which a month's amount belongs, with its part of each."""
    if month.due is not None:
        return {_period(month.due, today): _Sum(month.subunits, month.amount)}
    not_invoiced = (
        None if month.amount is None or month.invoiced is None else month.amount - month.invoiced
    )
    parts = {
        "unscheduled": _Sum(month.subunits - month.invoiced_subunits, not_invoiced),
        "invoiced, without a date": _Sum(month.invoiced_subunits, month.invoiced),
    }
    return {name: part for name, part in parts.items() if part.subunits}


def _period(due: date, today: date) -> str:
    """Return the name of a due date's line in the status: its month, earlier or later."""
    away = (due.year - today.year) * 12 + due.month - today.month
    if away < -_PAST:
        return "earlier"
    return "later" if away > _COMING else f"{due:%Y-%m}"


def status_json(found: Status) -> dict[str, object]:
    """Return the status of the warehouse as JSON."""
    proven = found.proven
    return {
        "source": found.source,
        "proven_at": proven.finished_at if proven else None,
        "runs": [
            {
                "run_id": run.run_id,
                "status": run.status,
                "mode": run.mode,
                "rows_read": run.rows_read,
                "added": run.added,
                "changed": run.changed,
                "rejected": run.rejected,
                "requests": run.requests,
                "duration_seconds": run.duration_seconds,
                "warnings": run.warnings,
                "error": run.error,
            }
            for run in found.runs
        ],
        "months": [
            {
                "due": month.due,
                "currency": month.currency,
                "milestones": month.milestones,
                "subunits": month.subunits,
                "invoiced_subunits": month.invoiced_subunits,
                "amount": exact_money(month.amount, found.decimals[month.currency]),
            }
            for month in found.months
        ],
        "lake": found.lake and _lake_json(found.lake),
    }


def _lake_json(lake: Copied) -> dict[str, object]:
    """Return the last copy to the lake, for the status as JSON."""
    return {
        "url": lake.url,
        "run_id": lake.run_id,
        "copied_at": lake.copied_at,
        "failing_since": lake.failing_since,
        "error": lake.problem,
    }
