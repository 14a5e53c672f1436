"""Build users' own marts after ours are published, and publish them, too."""

from __future__ import annotations

from pipelines.config.secrets import mask_secrets
from pipelines.runtime.clock import Now
from warehouse.errors import WarehouseError, WarehouseMisconfigured
from warehouse.raw import runs
from warehouse.target import Target
from warehouse.user_marts import UserMartsResult, UserPlan, build_user_marts, plan_user_marts

from .begin import SyncJob
from .session import ensure_locked, publish_to_readers


def plan(job: SyncJob) -> UserPlan:
    """Return what to do about users' own marts after a sync has built ours."""
    try:
        with job.connect() as database:
            return plan_user_marts(database, job.lock.target.models)
    except (WarehouseMisconfigured, OSError) as error:  # it could be read when the run began
        return UserPlan(problems=(f"the marts of users were not built: {error}",))


def build_and_publish(target: Target, planned: UserPlan, now: Now) -> UserMartsResult:
    """Build users' own marts, and publish them.

    Ours are published before: no mart of a user can delay or prevent that, however it fails.

    Args:
        target: The warehouse; the caller must hold its lock, and no connection to its DuckDB file.
        planned: What to do.
        now: The clock of this machine, UTC.

    Returns:
        What requires action, and which tables were dropped.
    """
    result = build_user_marts(target, planned, now=now)
    if planned.has_work:
        try:
            publish_to_readers(target)
        except WarehouseError as error:
            result.problems.append(f"the marts of users were not published: {error}")
    return result


def build_after_sync(job: SyncJob, planned: UserPlan, now: Now) -> None:
    """Build users' own marts after a sync, and add to its run's row what requires action."""
    if planned.has_work:
        job.observer.phase("building marts of users")
        ensure_locked(job.lock)
    result = build_and_publish(job.lock.target, planned, now)
    job.run.warnings += map(mask_secrets, result.problems)
    job.run.schema_changes += result.dropped
    if result.problems or result.dropped:
        with job.connect() as database:
            runs.update_run(database, job.run)
