"""`milestones status`: how fresh the warehouse is, its last runs, and what it says is due when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

import duckdb

from warehouse.errors import WarehouseError
from warehouse.raw import runs, summary
from warehouse.raw.runs import Run
from warehouse.raw.summary import MonthTotal
from warehouse.reader import NO_MILESTONES_YET, open_reader
from warehouse.target import Target


@dataclass(frozen=True, kw_only=True)
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
    months: list[MonthTotal]
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
    with open_reader(target) as reader:
        try:
            latest = runs.recent_runs(reader)
            proven = runs.last_whole_account_run(reader)
            months, units = summary.totals_by_month(reader), summary.minor_units(reader)
        except duckdb.CatalogException:
            raise WarehouseError(f"{reader.source} {NO_MILESTONES_YET}") from None
    return Status(source=reader.source, runs=latest, proven=proven, months=months, units=units)
