"""Read the status of the warehouse: last runs, last validated run, amounts by month."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

import duckdb

from pipelines.config.secrets import mask_secrets
from pipelines.runtime.clock import CLOCK_TOLERANCE
from warehouse import mart_queries
from warehouse.errors import WarehouseError
from warehouse.mart_rows import ScheduleRow
from warehouse.raw import lake_copies, runs, summary
from warehouse.raw.lake_copies import Copied
from warehouse.raw.runs import Run
from warehouse.reader import NO_MILESTONES_YET, open_reader
from warehouse.target import Target

from .figures import read_freshness
from .money import add, decimals_of


@dataclass(frozen=True, kw_only=True)
class MonthTotal:
    """All milestones of one month, in one currency.

    Args:
        due: The month's first day; None for milestones without a date.
        currency: ISO code.
        milestones: The number of milestones.
        subunits, invoiced_subunits: The sum of their amounts in minor units, and its part that is
            on an invoice.
        amount, invoiced: The same in money; None if the minor unit is unknown.
    """

    due: date | None
    currency: str
    milestones: int
    subunits: int
    invoiced_subunits: int
    amount: Decimal | None
    invoiced: Decimal | None


@dataclass(frozen=True, kw_only=True)
class Status:
    """The status of the warehouse.

    Args:
        source: The file or server that was read.
        runs: The last runs, the newest first.
        proven: The last validated run that covered the whole account; None if there is none.
        as_of: The day that the marts call today; None if there are none yet.
        months: Amounts by month and currency; those without a date last.
        decimals: The digits after the point of each currency's amounts.
        lake: The last run that was copied to the lake; None without a lake.
    """

    source: str
    runs: list[Run]
    proven: Run | None
    as_of: date | None
    months: list[MonthTotal]
    decimals: dict[str, int]
    lake: Copied | None = None

    @property
    def validated_at(self) -> datetime | None:
        """When the last validated run ended, by Kantata's clock if it stated one."""
        if self.proven is None:
            return None
        if self.proven.cursor_at is None:
            return self.proven.finished_at
        return self.proven.cursor_at + timedelta(seconds=self.proven.duration_seconds)

    def is_fresh(self, max_age: timedelta, now: datetime) -> bool:
        """Return whether the status's last validated run is no older than this, and not to come."""
        validated = self.validated_at
        return validated is not None and -CLOCK_TOLERANCE <= now - validated <= max_age


def read_status(target: Target) -> Status:
    """Read the status of a warehouse: last runs, last validated run, amounts by month.

    Raises:
        WarehouseError: If the warehouse does not exist, or cannot be read.
    """
    with open_reader(target) as reader:
        try:
            latest = list(map(_without_secrets, runs.recent_runs(reader)))
            proven = runs.last_whole_account_run(reader)
            schedule, units = mart_queries.schedule(reader), summary.minor_units(reader)
            freshness = read_freshness(reader) if schedule else None
            lake = lake_copies.last_published(reader)
        except duckdb.CatalogException:
            raise WarehouseError(f"{reader.source} {NO_MILESTONES_YET}") from None
    return Status(
        source=reader.source,
        runs=latest,
        proven=proven,
        as_of=freshness.as_of if freshness else None,
        months=_month_totals(schedule),
        decimals=_decimals(schedule, units),
        lake=lake and replace(lake, problem=lake.problem and mask_secrets(lake.problem)),
    )


def _without_secrets(run: Run) -> Run:
    """Return a run for the status; an earlier release may have stored secrets in its messages."""
    error = run.error and mask_secrets(run.error)
    return replace(run, error=error, warnings=list(map(mask_secrets, run.warnings)))


def _month_totals(rows: Iterable[ScheduleRow]) -> list[MonthTotal]:
    """Sum up the schedule's rows by month and currency; those without a date last."""
    months: dict[tuple[date | None, str], list[ScheduleRow]] = {}
    for row in rows:
        months.setdefault((row.month, row.currency), []).append(row)
    totals = [
        MonthTotal(
            due=due,
            currency=currency,
            milestones=sum(row.milestones for row in some),
            subunits=sum(row.subunits for row in some),
            invoiced_subunits=sum(row.subunits for row in some if row.status == "invoiced"),
            amount=add(*(row.amount for row in some)),
            invoiced=add(*(row.amount for row in some if row.status == "invoiced")),
        )
        for (due, currency), some in months.items()
    ]
    return sorted(totals, key=lambda m: (m.due is None, m.due or date.min, m.currency))


def _decimals(rows: Sequence[ScheduleRow], units: Mapping[str, Decimal]) -> dict[str, int]:
    """Return the digits after the point of each currency in the status."""
    return {
        currency: decimals_of(units.get(currency), (r for r in rows if r.currency == currency))
        for currency in {row.currency for row in rows}
    }
