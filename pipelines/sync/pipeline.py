"""Sync once: read the account, load what changed, validate it, build the marts, publish."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from decimal import Decimal
from functools import partial
from pathlib import Path
from shlex import quote

import dlt

from pipelines.config.secrets import mask_secrets
from pipelines.config.settings import KantataSettings
from pipelines.runtime.clock import Now, utc_now
from pipelines.runtime.exit_codes import ExitCode
from pipelines.runtime.observer import RunObserver
from pipelines.runtime.signals import Stopped, in_thread
from sources.kantata import RejectedRecord, Report
from sources.kantata.loaded_state import LoadedState
from warehouse.account import AccountBinding
from warehouse.errors import AnotherAccount, WarehouseError, WarehouseUnproven
from warehouse.raw import minor_units, proof, runs, summary
from warehouse.raw.account_binding import Origin, bind_account
from warehouse.raw.invoice_payments import observe_payments
from warehouse.raw.minor_units import MinorUnitChange
from warehouse.raw.runs import Run, RunHistory, RunStatus
from warehouse.words import counted

from . import lake, user_marts
from .account import CheckedAccount, check_account
from .begin import SyncJob, begin_sync
from .closes import mirror_closes
from .extract import extract_request, read_changes
from .loader import load, remove_trace, root_cause, translate_errors
from .marts import build_marts, check_reporting, read_rates
from .minor_units import check_minor_units
from .options import SyncOptions
from .session import WarehouseLock, ensure_locked, publish_to_readers

_MAX_REJECTS = 10  # listed one by one


@dataclass(frozen=True, kw_only=True)
class SyncResult:
    """The result of a validated run.

    Args:
        run: The run's row in ``sync_runs``.
        rejected: The records that are rejected now.
        units: The value of one minor unit, by currency.
        published: The published DuckDB file; None for Postgres.
    """

    run: Run
    rejected: list[RejectedRecord]
    units: dict[str, Decimal] = field(default_factory=dict)
    published: Path | None = None

    @property
    def exit_code(self) -> int:
        """Return the exit code of a sync: 3 if action is required, else 0."""
        return ExitCode.ACTION_REQUIRED if self.needs else ExitCode.DONE

    @property
    def needs(self) -> list[str]:
        """Return what requires action after a sync, a line each."""
        lines = [*self.run.warnings, *map(str, self.rejected[:_MAX_REJECTS])]
        if (more := len(self.rejected) - _MAX_REJECTS) > 0:
            lines.append(f"{counted(more, 'more rejected record')}: see kantata.rejected_records")
        return lines


def sync(
    kantata: KantataSettings,
    lock: WarehouseLock,
    options: SyncOptions,
    observer: RunObserver,
    now: Now = utc_now,
    account: AccountBinding | None = None,
) -> SyncResult:
    """Sync once: read, load, validate, build and check the marts, publish, copy to the lake.

    Args:
        kantata: The settings of the source.
        lock: The lock of the warehouse.
        options: The options of this run.
        observer: Informed of the run's progress.
        now: The clock of this machine; it only dates the run's row.
        account: The connected account, if the caller has asked for it.

    Raises:
        KantataError: If the account cannot be read; nothing was loaded.
        WarehouseMisconfigured: If the warehouse was filled from another account.
        WarehouseError: If loading fails, or the loaded totals differ from those read.
        Stopped: If a signal came; the next run starts again, with the same result.
    """
    target = lock.target
    lake.check_installed(target)
    with translate_errors(target):

        def check(origin: Origin) -> CheckedAccount:
            return check_account(origin, kantata, target, observer, account)

        with ExitStack() as open_file:
            job = begin_sync(lock, options, observer, now, check, open_file)
            run = job.run
            observer.began(run.run_id)
            open_file.enter_context(_recorded_in_sync_runs(job, now))
            checked = check(job.origin)
            check_reporting(job)
            request = extract_request(options, job.history, kantata)
            report, pipeline = read_changes(job, kantata, request)
            changes = check_minor_units(job, report, options.accepted_minor_units)
            rates = read_rates(job, kantata, report)
            _mark_loading(job, report, checked, changes)
            if pipeline:
                _load(job, pipeline)
            units = _validate(job, report)
            mirror_closes(job, now)
            build_marts(job, rates, now)
            plan = user_marts.plan(job)
            lake.forget_removed(job)
        if target.published:
            observer.phase("publishing")
            publish_to_readers(target)
        user_marts.build_after_sync(job, plan, now)
        lake.copy_after_sync(job, now)
        return SyncResult(
            run=run,
            rejected=[r._replace(reason=mask_secrets(r.reason)) for r in report.rejected],
            units=units,
            published=target.published,
        )


@contextmanager
def _recorded_in_sync_runs(job: SyncJob, now: Now) -> Iterator[None]:
    """Finish the run's row in ``sync_runs``, however the sync ends.

    If another account is connected, the row is removed: the run is none of this warehouse.
    """
    began, run = time.monotonic(), job.run
    try:
        yield
    except BaseException as error:
        cause = root_cause(error)
        run.status, run.error = _status(cause), mask_secrets(str(cause))
        with suppress(WarehouseError):  # the first error is the one to report
            if isinstance(cause, AnotherAccount):
                _remove_run(job)
            else:
                _end_run(job, began, now)
        raise
    finally:
        remove_trace(job.lock.target)
    run.status = RunStatus.PROVEN
    _end_run(job, began, now)


def _end_run(job: SyncJob, began: float, now: Now) -> None:
    """Write the end of a sync to the run's row: its status, time and duration."""
    job.run.finished_at = now()
    job.run.duration_seconds = round(time.monotonic() - began, 3)
    with job.connect() as database:
        runs.update_run(database, job.run)


def _remove_run(job: SyncJob) -> None:
    """Remove the run's row of a sync that did nothing to this warehouse."""
    with job.connect() as database:
        runs.remove_run(database, job.run)


def _status(cause: BaseException) -> RunStatus:
    """Return the status of a sync's run that an error ended."""
    if isinstance(cause, Stopped):
        return RunStatus.STOPPED
    return RunStatus.UNPROVEN if isinstance(cause, WarehouseUnproven) else RunStatus.FAILED


def _mark_loading(
    job: SyncJob, report: Report, checked: CheckedAccount, changes: Iterable[MinorUnitChange]
) -> None:
    """Mark in the warehouse of a sync that rows may be half loaded, and what they rest on."""
    ensure_locked(job.lock)
    _fill_run(job.run, report, job.history)
    job.run.requests += checked.requests
    binding = checked.binding
    with job.connect() as database:
        runs.update_run(database, job.run, report.observed_until)
        for change in changes:
            minor_units.accept(database, change)
        if binding != job.origin.binding:
            why = "the account's id became readable" if job.origin.binding else "the first load"
            bind_account(database, binding, job.run.started_at, why)


def _load(job: SyncJob, pipeline: dlt.Pipeline) -> None:
    """Load the extracted rows of a sync, in a thread that receives no signals."""
    job.observer.phase("loading")
    in_thread(partial(load, pipeline, partial(ensure_locked, job.lock)))


def _validate(job: SyncJob, report: Report) -> dict[str, Decimal]:
    """Validate the loaded run of a sync: compare totals; return the minor units by currency."""
    job.observer.phase("proving")
    with job.connect() as database:
        differences = proof.compare_totals(
            database, read=report.totals, excluded_ids=report.unproven, only_ids=report.ids
        )
        if differences:
            raise WarehouseUnproven(
                "the loaded totals differ from those read, so nothing is published: "
                + "; ".join(differences)
            )
        job.run.totals = proof.live_totals(database)
        observe_payments(database)
        if report.read_project_details:
            runs.mark_project_details(database, job.run)
        state = LoadedState(database)
        job.run.warnings += [job.restored] if job.restored else []
        job.run.warnings += _access_lost_warnings(state.access_lost_by_project())
        return summary.uniform_minor_units(database)


def _fill_run(run: Run, report: Report, history: RunHistory) -> None:
    """Fill the row of a sync's run with the figures of what was read."""
    run.mode, run.why = report.mode, mask_secrets(report.why)
    run.requests, run.rows_read = report.requests, report.read
    run.added, run.changed, run.rejected = report.added, report.changed, len(report.rejected)
    run.deleted, run.restored = report.deleted, report.restored
    run.access_lost = report.access_lost
    run.totals, run.side_rows = report.totals, report.side_rows
    run.schema_changes = list(
        dict.fromkeys((*history.unreported_schema_changes, *report.schema_changes))
    )
    run.warnings = list(map(mask_secrets, report.warnings))
    run.cursor_at = report.server_time


def _access_lost_warnings(lost: Mapping[str | None, int]) -> list[str]:
    """Return a sync's warning for each project that can no longer be read, with what to do."""
    return [
        f"access lost: the token can no longer read project {project}, so its "
        f"{counted(count, 'milestone')} {'keeps its' if count == 1 else 'keep their'} last values. "
        "Give the token's user access again, or, if the project was "
        f"deleted, mark them as deleted: milestones sync --allow-deletes {quote(project or '')}"
        for project, count in lost.items()
    ]
