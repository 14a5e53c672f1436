"""The scheduled job: sync, push if it is enabled, alerts."""

from __future__ import annotations

from dataclasses import dataclass, replace

from pipelines.config.declared import DEFAULTS
from pipelines.config.secrets import mask_secrets
from pipelines.config.settings import alert_settings, kantata_settings, push_settings
from pipelines.config.start import check_settings
from pipelines.config.targets import configured_destination, configured_target
from pipelines.runtime.clock import Now, utc_now
from pipelines.runtime.exit_codes import ExitCode
from pipelines.runtime.observer import RunObserver
from pipelines.runtime.signals import Stopped
from pipelines.sync.options import SyncOptions
from pipelines.sync.pipeline import SyncResult, sync
from pipelines.sync.session import locked
from pipelines.writeback.result import PushResult
from sources.kantata.errors import KantataError
from warehouse import locks
from warehouse.errors import WarehouseError, WarehouseMisconfigured
from warehouse.target import Target

from .alert_policy import JobOutcome
from .alerts import send_alert
from .configured_report import write_configured_report
from .digest import send_digest
from .parts import Part


@dataclass
class JobResult:
    """The result of one run of the job.

    Args:
        synced: The result of the sync; None if the job only pushed.
        pushed: The result of the push; None if push is off, or the job only synced.
        report_problem: Why the configured report was not written; empty if it was.
    """

    synced: SyncResult | None = None
    pushed: PushResult | None = None
    report_problem: str = ""

    @property
    def stopped(self) -> KantataError | WarehouseError | None:
        """Return the error that stopped the job's push early; None if none did."""
        return self.pushed.stopped if self.pushed else None

    @property
    def exit_code(self) -> int:
        """Return the job's exit code: that of the error that stopped its push, else 3 or 0."""
        if self.stopped is not None:
            return self.stopped.exit_code
        return ExitCode.ACTION_REQUIRED if self.needs else ExitCode.DONE

    @property
    def needs(self) -> list[str]:
        """Return what requires action after the job, a line each."""
        return [*self.lasting, *self.happened]

    @property
    def lasting(self) -> list[str]:
        """Return what requires action and the job's next run reports again, until it is settled."""
        synced = self.synced.needs if self.synced else []
        pushed = self.pushed.lasting if self.pushed else []
        report = [self.report_problem] if self.report_problem else []
        return list(dict.fromkeys(map(mask_secrets, [*synced, *pushed, *report])))

    @property
    def happened(self) -> list[str]:
        """Return what requires action and no later run of the job reports."""
        lasting = self.lasting  # the sync after a push repeats warnings of the first one
        lines = map(mask_secrets, self.pushed.happened if self.pushed else [])
        return [line for line in dict.fromkeys(lines) if line not in lasting]

    @property
    def outcome(self) -> JobOutcome:
        """Return the outcome of the job's run, for alerts."""
        happened = tuple(self.happened)
        if self.stopped is not None:
            return replace(_failure_outcome(self.stopped), happened=happened)
        return JobOutcome(self.exit_code, matters=tuple(self.lasting), happened=happened)


def run_job(
    destination: str | None,
    *,
    part: Part | None = None,
    wait: float = 0.0,
    observer: RunObserver,
    now: Now = utc_now,
) -> JobResult:
    """Run the scheduled job once, and send an alert if its state changed.

    Args:
        destination: ``duckdb`` or ``postgres``; None for the one in ``[warehouse] destination``.
        part: The part to run; None for all.
        wait: Seconds to wait for another run that has the lock.
        observer: Informed of the job's progress.
        now: The clock of this machine, UTC.

    Raises:
        KantataError, WarehouseError, Stopped: As ``sync`` and ``push_changes`` do.
    """
    settings, target = alert_settings(), None
    kind = destination or _destination_for_alerts()

    def alert(outcome: JobOutcome, warehouse: Target | None) -> None:
        send_alert(
            settings,
            outcome,
            destination=kind,
            target=warehouse,
            job=part or "run",
            now=now(),
            note=observer.note,
        )

    try:
        check_settings()
        target = configured_target(destination)
        result = _run_parts(target, part, wait=wait, observer=observer, now=now)
        result.report_problem = write_configured_report(target)
    except Stopped as stopped:  # no warehouse: only seconds are left
        alert(_failure_outcome(stopped), None)
        raise
    except Exception as error:
        alert(_failure_outcome(error), target)
        raise
    alert(result.outcome, target)
    send_digest(settings, target, now=now(), note=observer.note)
    return result


def _destination_for_alerts() -> str:
    """Return the kind of warehouse whose alert state counts, also if the job's setting is wrong."""
    try:
        return configured_destination()
    except WarehouseMisconfigured:
        return DEFAULTS["warehouse.destination"]


def _run_parts(
    target: Target, part: Part | None, *, wait: float, observer: RunObserver, now: Now
) -> JobResult:
    """Run the parts of the job: the sync, then the push if it is enabled, or the one given."""
    locks.ensure_supported()
    kantata, push = kantata_settings(), push_settings()
    is_pushing = part is Part.PUSH or (part is None and push.enabled)
    if is_pushing:  # most jobs only sync, and need not wait for these imports
        from pipelines.writeback.service import push_changes
    if part is Part.PUSH:
        return JobResult(pushed=push_changes(kantata, push, target, observer, now, wait))
    with locked(target, wait, observer.note) as lock:
        result = JobResult(synced=sync(kantata, lock, SyncOptions(), observer, now))
        if is_pushing:
            result.pushed = push_changes(kantata, push, target, observer, now, wait, lock)
        return result


def _failure_outcome(error: BaseException) -> JobOutcome:
    """Return the outcome of a job that an error stopped, for alerts."""
    return JobOutcome(
        getattr(error, "exit_code", ExitCode.FAILED),
        matters=(mask_secrets(str(error)),),  # saved in the alert state
        kind=type(error).__name__,
    )
