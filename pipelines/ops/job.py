"""The scheduled job: sync, push if it is enabled, alerts."""

from __future__ import annotations

from pipelines.config.declared_settings import DEFAULTS
from pipelines.config.settings import alert_settings, kantata_settings, push_settings
from pipelines.config.start import check_settings
from pipelines.config.targets import configured_destination, configured_target
from pipelines.runtime.clock import Now, utc_now
from pipelines.runtime.observer import RunObserver
from pipelines.runtime.signals import Stopped
from pipelines.sync.options import SyncOptions
from pipelines.sync.pipeline import sync
from pipelines.sync.session import locked
from warehouse import locks
from warehouse.errors import WarehouseMisconfigured
from warehouse.target import Target

from .alert_policy import JobOutcome
from .alerts import send_alert
from .configured_report import write_configured_report
from .job_result import JobResult, failure_outcome
from .parts import Part


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
        alert(failure_outcome(stopped), None)
        raise
    except Exception as error:
        alert(failure_outcome(error), target)
        raise
    alert(result.outcome, target)
    if settings.digest:
        from .digest import send_digest

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
