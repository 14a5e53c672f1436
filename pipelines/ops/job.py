"""What cron and Airflow start: sync; push, if that is enabled; alerts, if a person is needed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from pipelines.config.secrets import mask_secrets
from pipelines.config.settings import alert_settings, kantata_settings, push_settings
from pipelines.config.targets import configured_target
from pipelines.runtime.clock import Now, utc_now
from pipelines.runtime.exit_codes import ACTION_REQUIRED
from pipelines.runtime.observer import RunObserver
from pipelines.runtime.signals import Stopped
from pipelines.sync.options import SyncOptions
from pipelines.sync.pipeline import SyncResult, sync
from pipelines.sync.session import locked
from pipelines.writeback.result import PushResult
from pipelines.writeback.service import push_changes
from sources.kantata.errors import KantataError
from warehouse.errors import WarehouseError
from warehouse.target import Target

from .alert_policy import JobOutcome
from .alerts import send_alert


class Part(StrEnum):
    """A part of the job, for schedulers that start each by itself."""

    SYNC = "sync"
    PUSH = "push"


@dataclass
class JobResult:
    """What a run did.

    Args:
        synced: What it read and loaded; None if it only pushed.
        pushed: What it wrote back; None if that is off, or it only synced.
    """

    synced: SyncResult | None = None
    pushed: PushResult | None = None

    @property
    def stopped(self) -> KantataError | WarehouseError | None:
        """What ended the push early; None if nothing did."""
        return self.pushed.stopped if self.pushed else None

    @property
    def exit_code(self) -> int:
        """0; 3 if something needs a person; that of what stopped the push."""
        if self.stopped is not None:
            return self.stopped.exit_code
        return ACTION_REQUIRED if self.needs else 0

    @property
    def needs(self) -> list[str]:
        """What it leaves to a person, a line each."""
        return [*self.lasting, *self.happened]

    @property
    def lasting(self) -> list[str]:
        """What the next run will tell again unless it is settled."""
        read, wrote = self.synced, self.pushed
        lines = (read.needs if read else []) + (wrote.lasting if wrote else [])
        return list(dict.fromkeys(lines))

    @property
    def happened(self) -> list[str]:
        """What happened once."""
        lasting = self.lasting  # both syncs tell what is wrong with the warehouse
        lines = self.pushed.happened if self.pushed else []
        return [line for line in dict.fromkeys(lines) if line not in lasting]

    @property
    def _ended(self) -> JobOutcome:
        if self.stopped is not None:
            return replace(_failure_outcome(self.stopped), happened=tuple(self.happened))
        return JobOutcome(self.exit_code, tuple(self.lasting), happened=tuple(self.happened))


def run_job(
    destination: str, part: Part | None, wait: float, observer: RunObserver, now: Now = utc_now
) -> JobResult:
    """Run the job once, with nobody watching; tell those on call what changed for them.

    Args:
        destination: ``duckdb`` or ``postgres``.
        part: What of it; None for all.
        wait: Seconds to wait for another run that is going.
        observer: Told how it goes on.
        now: Gives the time of this machine, UTC.

    Raises:
        KantataError, WarehouseError, Stopped: As ``sync`` and ``push_changes`` do.
    """
    job = part or "run"
    settings, where = alert_settings(), None
    try:
        where = configured_target(destination)
        ran = _run_parts(where, part, wait, observer, now)
    except Stopped as stopped:  # the database is not asked: there are only seconds left
        send_alert(
            settings, destination, None, job, _failure_outcome(stopped), now(), observer.note
        )
        raise
    except Exception as error:
        send_alert(settings, destination, where, job, _failure_outcome(error), now(), observer.note)
        raise
    send_alert(settings, destination, where, job, ran._ended, now(), observer.note)
    return ran


def _run_parts(
    where: Target, part: Part | None, wait: float, observer: RunObserver, now: Now
) -> JobResult:
    kantata, writing = kantata_settings(), push_settings()
    if part is Part.PUSH:
        return JobResult(pushed=push_changes(kantata, writing, where, observer, now, wait))
    with locked(where, wait, observer.note) as lock:
        ran = JobResult(synced=sync(kantata, lock, SyncOptions(), observer, now))
        if part is None and writing.enabled:
            ran.pushed = push_changes(kantata, writing, where, observer, now, wait, lock)
        return ran


def _failure_outcome(error: BaseException) -> JobOutcome:
    said = mask_secrets(str(error))  # what is told is kept, too
    return JobOutcome(getattr(error, "exit_code", 1), (said,), type(error).__name__)
