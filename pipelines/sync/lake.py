"""Copy a published run to the lake: the last step of a sync, which harms nothing of it."""

from __future__ import annotations

import threading
import time
import traceback
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

from pipelines.config.secrets import mask_secrets
from pipelines.config.settings import alert_settings
from pipelines.runtime.clock import Now
from pipelines.runtime.signals import in_thread
from warehouse.account import bound_account
from warehouse.database import DATASET, Database
from warehouse.errors import WarehouseError
from warehouse.lake.copy import CopyRequest, LakeCopy
from warehouse.lake.delta import ensure_installed, show_stderr
from warehouse.lake.failures import LakeFailure
from warehouse.raw import lake_copies, runs
from warehouse.raw.lake_copies import Copied, LakeState
from warehouse.target import LakeTarget, Target

from .begin import SyncJob
from .session import ensure_locked, publish_to_readers

_TRY_AGAIN_LATER = 75


def check_installed(target: Target) -> None:
    """Check before a sync reads anything that its lake, if it has one, can be written.

    Raises:
        LakeMisconfigured: If the extra is not installed.
    """
    if target.lake:
        ensure_installed()


def forget_removed(job: SyncJob) -> None:
    """Remove what a sync's warehouse knows of a lake, if none is configured any more."""
    if job.lock.target.lake is None:
        with job.connect() as database:
            if database.rows(f"select 1 from {DATASET}.{lake_copies.TABLE} limit 1"):
                lake_copies.forget(database)


def copy_after_sync(job: SyncJob, now: Now) -> None:
    """Copy a sync's run to the lake, if one is configured and a copy is due.

    A failure changes nothing of what the sync has published. What requires action is added to the
    run's row.
    """
    if (lake := job.lock.target.lake) is None:
        return
    with job.connect() as database:
        state = lake_copies.read_state(database, lake.url)
    if not _is_due(state.published, lake, now()):
        return
    job.observer.phase("copying to the lake")
    ensure_locked(job.lock)
    attempt = _Attempt(job, lake, state, now)
    in_thread(attempt.run, on_stop=attempt.stop)
    _record(job, attempt, now())


class _Attempt:
    """One attempt to copy, in a thread that receives no signals.

    Args:
        job: The sync.
        lake: Where to copy to.
        state: What the warehouse knows of it.
        now: The clock of this machine.
    """

    def __init__(self, job: SyncJob, lake: LakeTarget, state: LakeState, now: Now) -> None:
        self._job, self._lake, self._now = job, lake, now
        self._ends_at = time.monotonic() + lake.time_limit.total_seconds()
        self._stopped = threading.Event()
        #: What the warehouse knows of the lake now.
        self.state = state
        #: Why nothing was published, or why old versions remain; None if all went well.
        self.failure: LakeFailure | None = None

    def run(self) -> None:
        """Copy; keep the failure, if it fails."""
        try:
            with self._job.connect() as database:
                self._copy(database)
        except LakeFailure as failure:
            self.failure = failure
        except WarehouseError as error:
            self.failure = LakeFailure(str(error), is_passing=error.exit_code == _TRY_AGAIN_LATER)
        except BaseException as error:  # a panic of delta-rs is no Exception
            self.failure = LakeFailure(_described(error))

    def _copy(self, database: Database) -> None:
        """Copy with an open connection to the warehouse."""
        if not database.is_postgres:
            database.execute("reset threads")  # loading uses one thread
        copy = LakeCopy(
            database,
            CopyRequest(
                lake=self._lake,
                run_id=self._job.run.run_id,
                account=str(bound_account(database) or "an unknown account"),
                now=self._now,
                check=self._check,
            ),
            self.state,
        )
        try:
            copy.run()
        finally:
            self.state = copy.state  # what was written is not written again
        self.failure = copy.vacuum_failure

    def stop(self, _signum: int) -> None:
        """Let the copy end at the next batch."""
        self._stopped.set()
        show_stderr()

    def _check(self) -> None:
        """Raise a failure if the attempt must end."""
        if self._stopped.is_set():
            raise LakeFailure("it was stopped", is_passing=True)
        if time.monotonic() > self._ends_at:
            raise LakeFailure(
                f"it was not complete after {_minutes(self._lake.time_limit)}; the next run copies "
                "what is missing. If it never completes, raise LAKE__TIME_LIMIT",
                is_passing=True,
            )


def _record(job: SyncJob, attempt: _Attempt, now: datetime) -> None:
    """Record the result of an attempt, and publish it to the readers of ``data_freshness``."""
    state, failure = attempt.state, attempt.failure
    warnings: list[str] = []
    if failure is not None:
        published = _failed(state.published, failure, now)
        state = replace(state, published=published)
        job.observer.note(f"the copy to the lake in {published.url} failed: {published.problem}")
        warnings += _required_action(published, failure, job.lock.target.lake, now)
    try:
        ensure_locked(job.lock)
        with job.connect() as database:
            lake_copies.write_state(database, state)
            if warnings:
                job.run.warnings += warnings
                runs.update_run(database, job.run)
        publish_to_readers(job.lock.target)
    except WarehouseError as error:  # the run itself is published
        line = f"the state of the copy to the lake was not saved: {mask_secrets(str(error))}"
        job.run.warnings.append(line)


def _failed(published: Copied, failure: LakeFailure, now: datetime) -> Copied:
    """Return the row of ``published_runs`` after a failure."""
    since = published.failing_since or now
    return replace(published, failing_since=since, problem=mask_secrets(str(failure)))


def _required_action(
    published: Copied, failure: LakeFailure, lake: LakeTarget | None, now: datetime
) -> list[str]:
    """Return what requires action after a failure: nothing while it may pass and is young."""
    if not failure.is_passing:
        return [f"the copy to the lake in {published.url} failed: {published.problem}"]
    begun = published.copied_at or published.failing_since or now
    every = lake.every if lake else timedelta()
    if now - begun <= every + alert_settings().after:
        return []
    # Without the reason: it may be another one each time, and one alert is enough.
    return [
        f"the copy to the lake in {published.url} is not current: it has failed since "
        f"{published.failing_since:%Y-%m-%d %H:%M} UTC. See why: milestones status"
    ]


def _is_due(published: Copied, lake: LakeTarget, now: datetime) -> bool:
    """Return whether it is time for a copy, or the last one failed."""
    if published.copied_at is None or published.failing_since is not None:
        return True
    # Runs of cron are not exactly as far apart as they should be.
    return now - published.copied_at >= lake.every - min(lake.every / 10, timedelta(minutes=10))


def _described(error: BaseException) -> str:
    """Return an unexpected error of the copy in one line, with its place."""
    place = traceback.extract_tb(error.__traceback__)[-1]
    first = (str(error).splitlines() or [""])[0]
    return f"{type(error).__name__}: {first} ({Path(place.filename).name}, line {place.lineno})"


def _minutes(duration: timedelta) -> str:
    """Return a duration in words."""
    minutes, seconds = divmod(round(duration.total_seconds()), 60)
    return f"{minutes} min" if not seconds else f"{minutes * 60 + seconds} s"
