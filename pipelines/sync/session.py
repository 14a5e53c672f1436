"""A warehouse while a job has it: its lock, its tables, a load, and what failed in plain words."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dlt
from dlt.destinations.exceptions import DatabaseException
from dlt.pipeline.exceptions import PipelineStepFailed

from pipelines.config.targets import Target
from pipelines.runtime.signals import Stopped
from sources.kantata.errors import KantataError
from sources.kantata.settings import LOADED
from warehouse import locks
from warehouse.database import Database, connect, is_disk_full, load_failure, reason
from warehouse.errors import WarehouseError, WarehouseUnavailable, WarehouseUnwritable
from warehouse.publish import publish
from warehouse.raw import schema

_RAW = {
    table: {name: kind.dlt_type for name, kind in columns.items()}
    for table, (columns, _) in LOADED.items()
}


@dataclass(frozen=True)
class WarehouseLock:
    """A warehouse that nobody else changes meanwhile.

    Args:
        target: The warehouse.
        server: On Postgres, the connection whose lock it is; None for DuckDB.
    """

    target: Target
    server: Database | None


@contextmanager
def locked(
    target: Target,
    wait: float = 0.0,
    note: Callable[[str], None] | None = None,
    patience: float = locks.PATIENCE,
) -> Iterator[WarehouseLock]:
    """Hold the lock of a warehouse, on this machine and on its server.

    Args:
        target: The warehouse.
        wait: Seconds to wait for another run.
        note: Told in one line for which one it waits.
        patience: Seconds it waits at least.

    Raises:
        WarehouseBusy: If another run has it.
        WarehouseError: If it cannot be had.
    """
    file_lock = locks.file_lock(target.lock, wait=wait, note=note, patience=patience)
    with file_lock, translate_errors(target):
        if target.loader:
            yield WarehouseLock(target, None)
            return
        with connect(target.destination) as server, locks.server_lock(server, wait, note, patience):
            yield WarehouseLock(target, server)


def publish_to_readers(target: Target) -> None:
    """Replace the file for readers; nothing on Postgres.

    Raises:
        WarehouseUnwritable: If there is no room or no right; the old file stays.
    """
    if target.loader and target.published:
        publish(target.loader, target.published)


@contextmanager
def open_existing(lock: WarehouseLock) -> Iterator[Database]:
    """The warehouse as runs left it.

    Raises:
        WarehouseError: If no run has left anything.
    """
    target = lock.target
    if target.loader and not target.loader.exists():
        raise WarehouseError(f"there is no {target.loader} yet: run `milestones sync`")
    with connect(target.destination) as database:
        if "sync_runs" not in database.tables():
            raise WarehouseError("there are no milestones yet: run `milestones sync`")
        yield database


def reset_pipeline(target: Target) -> dlt.Pipeline:
    """A pipeline that remembers nothing of earlier runs on this machine.

    What it must know it takes from the warehouse, so a package that a killed run left behind, a
    lost folder and another machine are all the same to it.
    """
    shutil.rmtree(target.working, ignore_errors=True)
    return target.pipeline()


def prepare_tables(database: Database) -> None:
    """Make the raw tables that are not there yet.

    Raises:
        WarehouseMisconfigured: If a later release has written this warehouse.
    """
    schema.prepare(database, _RAW, {name: key for name, (_, key) in LOADED.items()})


def ensure_locked(lock: WarehouseLock) -> None:
    """See whether the lock on the server is still ours.

    Raises:
        WarehouseUnavailable: If its connection ended, so that another machine may have it by now.
    """
    try:
        if lock.server:
            lock.server.rows("select 1")
    except DatabaseException as error:
        raise WarehouseUnavailable(
            f"the lock on the server was lost, so nothing more is loaded: {reason(error)}. "
            "The next run does it all again."
        ) from None


def load(pipeline: dlt.Pipeline) -> None:
    """Load what was extracted.

    Raises:
        WarehouseError: If that fails.
    """
    try:
        pipeline.normalize()
        pipeline.load()
    except PipelineStepFailed as error:
        cause = root_cause(error)
        if cause is not error or is_disk_full(cause):  # a signal, or a disk
            raise
        raise load_failure(error) from error


@contextmanager
def translate_errors(target: Target) -> Iterator[None]:
    """Name what failed, and end dlt's wrappings: whoever catches it sees the cause itself."""
    try:
        yield
    except (KantataError, WarehouseError, Stopped):
        raise
    except BaseException as error:
        cause = root_cause(error)
        if isinstance(cause, (KantataError, WarehouseError, Stopped)):
            raise cause from None
        if is_disk_full(cause):
            raise WarehouseUnwritable(
                f"cannot write to {target.folder.absolute()}: {reason(cause)}. Make room there, or "
                "mend the folder's rights; the last published state stands."
            ) from None
        raise


def root_cause(error: BaseException) -> BaseException:
    """The first error that is one of ours, or tells of a disk; else the error itself."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (KantataError, WarehouseError, Stopped)) or is_disk_full(seen):
            return seen
        seen = seen.__cause__ or seen.__context__
    return error
