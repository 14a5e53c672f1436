"""Begin a sync: the row of its run, what earlier runs left, and the newest copy to load into."""

from __future__ import annotations

from collections.abc import Callable, Collection
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, replace

from pipelines.runtime.clock import Now
from pipelines.runtime.observer import RunObserver
from warehouse import time_zones
from warehouse.database import Database, connect
from warehouse.errors import WarehouseMisconfigured
from warehouse.lineage import (
    EmptyLoader,
    check_files,
    ensure_not_older,
    ensure_ours,
    published_state,
    restore_from_published,
)
from warehouse.private_files import make_private
from warehouse.raw import runs, schema
from warehouse.raw.account_binding import Origin, read_origin
from warehouse.raw.invoice_payments import observe_payments
from warehouse.raw.runs import Run, RunHistory
from warehouse.raw.summary import live_milestones_by_project
from warehouse.reader import check_exists
from warehouse.target import Target
from warehouse.user_marts import check_folder
from warehouse.words import counted

from .loader import clear_working_folder
from .options import SyncOptions
from .session import WarehouseLock, prepare_tables


@dataclass(frozen=True, kw_only=True)
class SyncJob:
    """What every step of one run uses.

    Args:
        lock: The lock of the warehouse.
        run: The run's row, which the steps fill.
        history: The history of earlier runs.
        observer: Informed of the run's progress.
        origin: What the warehouse says of the account it was filled from.
        restored: That the loader's file was restored, for people; None if it was not.
    """

    lock: WarehouseLock
    run: Run
    history: RunHistory
    observer: RunObserver
    origin: Origin
    restored: str | None = None

    def connect(self) -> AbstractContextManager[Database]:
        """Open a connection to the warehouse that a sync loads into."""
        return connect(self.lock.target.destination)


def begin_sync(
    lock: WarehouseLock,
    options: SyncOptions,
    observer: RunObserver,
    now: Now,
    check_origin: Callable[[Origin], object],
    open_file: ExitStack,
) -> SyncJob:
    """Begin a sync on the loader's file, which is restored first if it is missing or empty.

    Args:
        lock: The lock of the warehouse.
        options: The options of this run.
        observer: Informed of what happens.
        now: The clock of this machine.
        check_origin: Raises an error if what a file says of its account is not the one to read.
        open_file: Keeps the DuckDB file open for the next steps: opening it again costs 20 ms.

    Raises:
        WarehouseError: If the files of the warehouse cannot be used.
    """
    check_files(lock.target)
    check_folder(lock.target.models)
    if options.deleted_projects:
        check_exists(lock.target)  # a first run knows no project
    restored, loader = None, lock.target.loader
    is_new = loader is not None and not loader.exists()
    if loader and (not loader.exists() or not loader.stat().st_size):
        restored = _restore(lock.target, check_origin)
    try:
        job = _begin(lock, options, observer, now, open_file)
    except EmptyLoader:
        restored = _restore(lock.target, check_origin)
        job = _begin(lock, options, observer, now, open_file)
    if loader and is_new:
        make_private(loader)
    if restored:
        observer.note(restored)
    return replace(job, restored=restored)


def _restore(target: Target, check_origin: Callable[[Origin], object]) -> str | None:
    """Restore the loader's file to begin on, if the published one is of the account to read."""
    published = published_state(target)
    if published and published.account:
        check_origin(Origin(binding=published.account, account_ids=frozenset(), milestone_ids=()))
    return restore_from_published(target)


def _begin(
    lock: WarehouseLock,
    options: SyncOptions,
    observer: RunObserver,
    now: Now,
    open_file: ExitStack,
) -> SyncJob:
    """Begin a sync: insert the row of its run, and read what earlier runs left."""
    clear_working_folder(lock.target)
    with connect(lock.target.destination) as database:
        time_zones.ensure_known(database, lock.target.timezone)
        ensure_ours(database, lock.target)
        prepare_tables(database)
        ensure_not_older(database, lock.target)
        for project, count in _deletions(database, options.deleted_projects).items():
            observer.note(
                f"project {project}: its {counted(count, 'milestone')} will be marked as deleted, "
                "if it can no longer be read"
            )
        runs.end_killed_runs(database)
        observe_payments(database)
        history = runs.run_history(database)
        if history.last_run_id is None:
            observer.note(f"creating a new warehouse in {lock.target.loader or 'Postgres'}")
        if history.has_unfinished_run:
            schema.remove_orphans(database)
        run_id = runs.next_run_id(now(), history.last_run_id)
        run = Run(run_id=run_id, mode="undecided", why="", started_at=now())
        runs.insert_run(database, run)
        if lock.target.loader:
            open_file.enter_context(connect(lock.target.destination))
        return SyncJob(
            lock=lock,
            run=run,
            history=history,
            observer=observer,
            origin=read_origin(database),
        )


def _deletions(database: Database, projects: Collection[str]) -> dict[str, int]:
    """Return the number of milestones of each project that a sync was told is deleted.

    Raises:
        WarehouseMisconfigured: If the warehouse has no live milestone of one of them.
    """
    if not projects:
        return {}
    counts = live_milestones_by_project(database)
    for project in sorted(projects):
        if project not in counts:
            raise WarehouseMisconfigured(
                f"the warehouse has no milestone of project {project} that is not deleted: nothing "
                "was marked. Correct the id"
            )
    return {project: counts[project] for project in sorted(projects)}
