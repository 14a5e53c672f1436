"""`milestones status`: how fresh the warehouse is, its last runs, and what it says is due when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

import duckdb
import pendulum
from rich.markup import escape
from rich.table import Table

from pipelines.cli import render_runs
from pipelines.config.targets import Target
from pipelines.sync.query import NO_MILESTONES_YET, open_reader
from warehouse.errors import WarehouseError
from warehouse.raw import runs
from warehouse.raw.runs import Run, RunStatus

_MONTHS = """
select
    date_trunc('month', date_to_invoice)::date as due,
    currency,
    count(*),
    sum(amount_in_cents),
    sum(case when invoice_id is not null then amount_in_cents else 0 end)
from kantata.billing_milestones
where deleted_at is null and access_lost_at is null
group by 1, 2
order by 1, 2
"""
_UNITS = "select iso_code, unit_per_subunit from kantata.currencies"
_PAST, _COMING = 3, 9  # months shown one by one; the others are summed up


@dataclass(frozen=True)
class Month:
    """What is due in one month in one currency.

    Args:
        due: The month's first day, None for milestones without a date.
        currency: ISO code.
        milestones: How many.
        subunits: Their sum.
        invoiced: The part of it that is on an invoice.
    """

    due: date | None
    currency: str
    milestones: int
    subunits: int
    invoiced: int


@dataclass(frozen=True)
class Status:
    """What the warehouse says.

    Args:
        source: What was read.
        runs: The last ones, the newest first.
        proven: The last proven one that looked at the whole account.
        months: By month and currency; those without a date last.
        units: The value of one subunit, by currency.
    """

    source: str
    runs: list[Run]
    proven: Run | None
    months: list[Month]
    units: dict[str, Decimal]

    def is_fresh(self, most: timedelta, now: datetime) -> bool:
        """Whether a run was proven that lately."""
        finished = self.proven.finished_at if self.proven else None
        return finished is not None and now - finished <= most


def read_status(target: Target) -> Status:
    """Read the warehouse.

    Raises:
        WarehouseError: If there is none, or it cannot be read.
    """
    with open_reader(target) as (source, query):
        try:
            latest = runs.latest(query.rows(runs.LATEST))
            proven = next(iter(runs.latest(query.rows(runs.LATEST_VALIDATED))), None)
            months = [Month(*row[:3], *map(int, row[3:])) for row in query.rows(_MONTHS)]
            units = {code: Decimal(unit) for code, unit in query.rows(_UNITS)}
        except duckdb.CatalogException:
            raise WarehouseError(f"{source} {NO_MILESTONES_YET}") from None
    months.sort(key=lambda month: (month.due is None, month.due or date.min, month.currency))
    return Status(source, latest, proven, months, units)


def print_status(found: Status) -> None:
    """The status, on stdout."""
    if found.proven and found.proven.finished_at:
        finished = pendulum.instance(found.proven.finished_at)
        live = sum(count for count, _ in found.proven.totals.values())
        out = f"[green]proven {finished.diff_for_humans()}[/] ({finished:%Y-%m-%d %H:%M %Z})"
        render_runs.out.print(f"{out}, {live:,} milestones; {escape(found.source)}")
    else:
        render_runs.out.print(f"[yellow]no run was proven yet[/]; {escape(found.source)}")
    render_runs.out.print(_runs_table(found.runs))
    for line, when in _messages(found.runs).items():
        render_runs.out.print(f"[yellow]{when}[/] {escape(line)}", soft_wrap=True)
    render_runs.out.print(_months_table(found))


def _runs_table(latest: list[Run]) -> Table:
    table = Table(box=None, title="last runs", title_justify="left", padding=(0, 1, 0, 0))
    for name in ("run", "status", "mode"):
        table.add_column(name, no_wrap=True)
    for name in ("read", "added", "changed", "rejected", "requests", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for run in latest:
        colour = "green" if run.status is RunStatus.PROVEN else "red"
        numbers = (run.rows_read, run.added, run.changed, run.rejected, run.requests)
        table.add_row(
            f"{run.started_at:%Y-%m-%d %H:%M}",
            f"[{colour}]{run.status}[/]",
            run.mode,
            *(f"{n:,}" for n in numbers),
            f"{run.duration_seconds:.1f}",
        )
    return table


def _messages(latest: list[Run]) -> dict[str, str]:
    """What a person should know of the last runs: each line once, with the newest run's time."""
    said: dict[str, str] = {}
    for run in latest:
        for line in [run.error] if run.error else run.warnings:
            said.setdefault(line, f"{run.started_at:%Y-%m-%d %H:%M}")
    return said


def _months_table(found: Status) -> Table:
    """Months around today one by one, what lies before and after in one line each."""
    currencies = sorted({month.currency for month in found.months})
    table = Table("due", box=None, title="billing milestones by month", title_justify="left")
    for currency in currencies:
        table.add_column(escape(currency), justify="right")
    sums: dict[str, dict[str, int]] = {}
    for month in found.months:
        line = sums.setdefault(_line(month.due), {})
        line[month.currency] = line.get(month.currency, 0) + month.subunits
    for name, line in sums.items():
        cells = (
            render_runs.format_amount(line[c], found.units.get(c)) if c in line else ""
            for c in currencies
        )
        table.add_row(name, *cells)
    return table


def _line(due: date | None) -> str:
    if due is None:
        return "no date"
    today = pendulum.today("UTC").date()
    away = (due.year - today.year) * 12 + due.month - today.month
    if away < -_PAST:
        return "earlier"
    return "later" if away > _COMING else f"{due:%Y-%m}"


def status_json(found: Status) -> dict[str, object]:
    """The status as one JSON value."""
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
                "invoiced_subunits": month.invoiced,
                "amount": render_runs.exact_amount(month.subunits, found.units.get(month.currency)),
            }
            for month in found.months
        ],
    }
