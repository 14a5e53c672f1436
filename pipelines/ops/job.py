"""What cron and Airflow start: sync; push, if that is enabled; alerts, if a person is needed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from pipelines.config.settings import (
    alert_settings,
    kantata_settings,
    push_settings,
    without_secrets,
)
from pipelines.config.targets import Place, place
from pipelines.runtime.signals import Stopped
from pipelines.sync.pipeline import NEEDS_A_PERSON, Asked, Now, Synced, Watcher, sync, utc_now
from pipelines.sync.session import holding
from pipelines.writeback.push import Pushed
from pipelines.writeback.service import push
from sources.kantata.errors import KantataError
from warehouse.errors import WarehouseError

from .alerts import Ended, alert


class Part(StrEnum):
    """A part of the job, for schedulers that start each by itself."""

    SYNC = "sync"
    PUSH = "push"


@dataclass
class Ran:
    """What a run did.

    Args:
        synced: What it read and loaded; None if it only pushed.
        pushed: What it wrote back; None if that is off, or it only synced.
    """

    synced: Synced | None = None
    pushed: Pushed | None = None

    @property
    def stopped(self) -> KantataError | WarehouseError | None:
        """What ended the push early; None if nothing did."""
        return self.pushed.stopped if self.pushed else None

    @property
    def exit_code(self) -> int:
        """0; 3 if something needs a person; that of what stopped the push."""
        if self.stopped is not None:
            return self.stopped.exit_code
        return NEEDS_A_PERSON if self.needs else 0

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
    def _ended(self) -> Ended:
        if self.stopped is not None:
            return replace(_failed(self.stopped), happened=tuple(self.happened))
        return Ended(self.exit_code, tuple(self.lasting), happened=tuple(self.happened))


def run(
    destination: str, part: Part | None, wait: float, watcher: Watcher, now: Now = utc_now
) -> Ran:
    """Run the job once, with nobody watching; tell those on call what changed for them.

    Args:
        destination: ``duckdb`` or ``postgres``.
        part: What of it; None for all.
        wait: Seconds to wait for another run that is going.
        watcher: Told how it goes on.
        now: Gives the time of this machine, UTC.

    Raises:
        KantataError, WarehouseError, Stopped: As ``sync`` and ``push`` do.
    """
    job = part or "run"
    settings, where = alert_settings(), None
    try:
        where = place(destination)
        ran = _run(where, part, wait, watcher, now)
    except Stopped as stopped:  # the database is not asked: there are only seconds left
        alert(settings, destination, None, job, _failed(stopped), now(), watcher.note)
        raise
    except Exception as error:
        alert(settings, destination, where, job, _failed(error), now(), watcher.note)
        raise
    alert(settings, destination, where, job, ran._ended, now(), watcher.note)
    return ran


def _run(where: Place, part: Part | None, wait: float, watcher: Watcher, now: Now) -> Ran:
    kantata, writing = kantata_settings(), push_settings()
    if part is Part.PUSH:
        return Ran(pushed=push(kantata, writing, where, watcher, now, wait))
    with holding(where, wait, watcher.note) as hold:
        ran = Ran(synced=sync(kantata, hold, Asked(), watcher, now))
        if part is None and writing.enabled:
            ran.pushed = push(kantata, writing, where, watcher, now, wait, hold)
        return ran


def _failed(error: BaseException) -> Ended:
    said = without_secrets(str(error))  # what is told is kept, too
    return Ended(getattr(error, "exit_code", 1), (said,), type(error).__name__)
