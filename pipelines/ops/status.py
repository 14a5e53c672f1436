"""`milestones status`: how fresh the warehouse is, its last runs, and what it says is due when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal

import duckdb

from warehouse.errors import WarehouseError
from warehouse.raw import runs
from warehouse.raw.runs import Run
from warehouse.reader import NO_MILESTONES_YET, open_reader
from warehouse.target import Target

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
            latest = runs.recent_runs(query)
            proven = runs.last_whole_account_run(query)
            months = [Month(*row[:3], *map(int, row[3:])) for row in query.rows(_MONTHS)]
            units = {code: Decimal(unit) for code, unit in query.rows(_UNITS)}
        except duckdb.CatalogException:
            raise WarehouseError(f"{source} {NO_MILESTONES_YET}") from None
    months.sort(key=lambda month: (month.due is None, month.due or date.min, month.currency))
    return Status(source, latest, proven, months, units)
