"""Read the status of the warehouse: last runs, last validated run, amounts by month."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

import duckdb

from pipelines.config.secrets import mask_secrets
from pipelines.runtime.clock import CLOCK_TOLERANCE
from warehouse.errors import WarehouseError
from warehouse.raw import runs, summary
from warehouse.raw.runs import Run
from warehouse.raw.summary import MonthTotal
from warehouse.reader import NO_MILESTONES_YET, open_reader
from warehouse.target import Target


@dataclass(frozen=True, kw_only=True)
class Status:
    """The status of the warehouse.

    Args:
        source: The file or server that was read.
        runs: The last runs, the newest first.
        proven: The last validated run that covered the whole account; None if there is none.
        months: Amounts by month and currency; those without a date last.
        units: The value of one minor unit, by currency.
    """

    source: str
    runs: list[Run]
    proven: Run | None
    months: list[MonthTotal]
    units: dict[str, Decimal]

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
            months, units = summary.totals_by_month(reader), summary.uniform_minor_units(reader)
        except duckdb.CatalogException:
            raise WarehouseError(f"{reader.source} {NO_MILESTONES_YET}") from None
    return Status(source=reader.source, runs=latest, proven=proven, months=months, units=units)


def _without_secrets(run: Run) -> Run:
    """Return a run for the status; an earlier release may have stored secrets in its messages."""
    error = run.error and mask_secrets(run.error)
    return replace(run, error=error, warnings=list(map(mask_secrets, run.warnings)))
