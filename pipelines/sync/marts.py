"""The last steps of a sync before it is published: exchange rates, then the marts."""

from __future__ import annotations

from pipelines.config.settings import KantataSettings
from pipelines.runtime.clock import Now
from sources.kantata import Report
from warehouse.models import build
from warehouse.models.calendar import local_day
from warehouse.raw import runs
from warehouse.raw.exchange_rates import FROM_ACCOUNT, present_rates, rates_of_files
from warehouse.raw.runs import Run
from warehouse.target import Target

from . import exchange_rates
from .begin import SyncJob
from .session import ensure_locked


def build_context(run: Run, target: Target) -> build.BuildContext:
    """Return the context in which a sync builds the marts: today is Kantata's date at its start."""
    return build.BuildContext(
        run_id=run.run_id,
        as_of=local_day(run.cursor_at or run.started_at, target.timezone),
        timezone=target.timezone,
        reporting_currency=target.reporting_currency,
    )


def check_reporting(job: SyncJob) -> None:
    """Check before a sync reads anything that its reporting currency and rates can be used.

    A file that was good once does not keep a run from its figures: see ``read_rates``.

    Raises:
        WarehouseMisconfigured: If the currency cannot be used, or the file never could.
    """
    target = job.lock.target
    with job.connect() as database:
        exchange_rates.check_currency(database, target.reporting_currency)
        has_rates = bool(rates_of_files(database))
    if target.reporting_currency and target.exchange_rates and not has_rates:
        exchange_rates.read_rates_file(target.exchange_rates)


def read_rates(job: SyncJob, settings: KantataSettings, report: Report) -> exchange_rates.RunRates:
    """Read the exchange rates of a sync, if they are due."""
    with job.connect() as database:
        known = present_rates(database, FROM_ACCOUNT)
    is_due = exchange_rates.is_due(
        known, read_at=job.history.exchange_rates_read_at, now=report.server_time
    )
    return exchange_rates.read_rates(
        job.lock.target, settings, job.observer, account_is_due=is_due, known=known
    )


def build_marts(job: SyncJob, rates: exchange_rates.RunRates, now: Now) -> None:
    """Build the marts of a sync's run, and add the warnings of their checks to it."""
    job.observer.phase("building marts")
    ensure_locked(job.lock)
    with job.connect() as database:
        target = job.lock.target
        exchange_rates.check_currency(database, target.reporting_currency)
        exchange_rates.store(database, rates, now)
        if rates.account_was_read:
            runs.mark_exchange_rates(database, job.run)
        job.run.warnings += rates.problems
        job.run.warnings += build.build_marts(database, build_context(job.run, target))
        missing = build.missing_rates(database)
        if missing and missing not in job.run.warnings:
            job.observer.note(missing)
