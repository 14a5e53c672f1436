"""A warehouse while a job has it: its lock, its tables, a load, and what failed in plain words."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import dlt
from dlt.destinations.exceptions import DatabaseException
from dlt.pipeline.exceptions import PipelineStepFailed

from pipelines.config.targets import Place
from pipelines.runtime.signals import Stopped
from sources.kantata.errors import KantataError
from sources.kantata.settings import LOADED
from warehouse import locks
from warehouse.database import Database, load_failure, no_room, opened, reason
from warehouse.errors import WarehouseError, WarehouseUnavailable, WarehouseUnwritable
from warehouse.publish import publish
from warehouse.raw import schema

_RAW = {
    table: {name: kind.dlt_type for name, kind in columns.items()}
    for table, (columns, _) in LOADED.items()
}


@dataclass(frozen=True)
class Hold:
    """A warehouse that nobody else changes meanwhile.

    Args:
        place: The warehouse.
        server: On Postgres, the connection whose lock it is; None for DuckDB.
    """

    place: Place
    server: Database | None


@contextmanager
def holding(
    place: Place,
    wait: float = 0.0,
    note: Callable[[str], None] | None = None,
    patience: float = locks.PATIENCE,
) -> Iterator[Hold]:
    """Hold the lock of a warehouse, on this machine and on its server.

    Args:
        place: The warehouse.
        wait: Seconds to wait for another run.
        note: Told in one line for which one it waits.
        patience: Seconds it waits at least.

    Raises:
        WarehouseBusy: If another run has it.
        WarehouseError: If it cannot be had.
    """
    file_lock = locks.file_lock(place.lock, wait=wait, note=note, patience=patience)
    with file_lock, spoken_for(place):
        if place.loader:
            yield Hold(place, None)
            return
        with opened(place.destination) as server, locks.server_lock(server, wait, note, patience):
            yield Hold(place, server)


def publish_to_readers(place: Place) -> None:
    """Replace the file for readers; nothing on Postgres.

    Raises:
        WarehouseUnwritable: If there is no room or no right; the old file stays.
    """
    if place.loader and place.published:
        publish(place.loader, place.published)


@contextmanager
def left_by_runs(hold: Hold) -> Iterator[Database]:
    """The warehouse as runs left it.

    Raises:
        WarehouseError: If no run has left anything.
    """
    place = hold.place
    if place.loader and not place.loader.exists():
        raise WarehouseError(f"there is no {place.loader} yet: run `milestones sync`")
    with opened(place.destination) as database:
        if "sync_runs" not in database.tables():
            raise WarehouseError("there are no milestones yet: run `milestones sync`")
        yield database


def fresh_pipeline(place: Place) -> dlt.Pipeline:
    """A pipeline that remembers nothing of earlier runs on this machine.

    What it must know it takes from the warehouse, so a package that a killed run left behind, a
    lost folder and another machine are all the same to it.
    """
    shutil.rmtree(place.working, ignore_errors=True)
    return place.pipeline()


def prepare(database: Database) -> None:
    """Make the raw tables that are not there yet.

    Raises:
        WarehouseMisconfigured: If a later release has written this warehouse.
    """
    schema.prepare(database, _RAW, {name: key for name, (_, key) in LOADED.items()})


def still_held(hold: Hold) -> None:
    """See whether the lock on the server is still ours.

    Raises:
        WarehouseUnavailable: If its connection ended, so that another machine may have it by now.
    """
    try:
        if hold.server:
            hold.server.rows("select 1")
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
        cause = cause_of(error)
        if cause is not error or no_room(cause):  # a signal, or a disk
            raise
        raise load_failure(error) from error


@contextmanager
def spoken_for(place: Place) -> Iterator[None]:
    """Name what failed, and end dlt's wrappings: whoever catches it sees the cause itself."""
    try:
        yield
    except (KantataError, WarehouseError, Stopped):
        raise
    except BaseException as error:
        cause = cause_of(error)
        if isinstance(cause, (KantataError, WarehouseError, Stopped)):
            raise cause from None
        if no_room(cause):
            raise WarehouseUnwritable(
                f"cannot write to {place.folder.absolute()}: {reason(cause)}. Make room there, or "
                "mend the folder's rights; the last published state stands."
            ) from None
        raise


def cause_of(error: BaseException) -> BaseException:
    """The first error that is one of ours, or tells of a disk; else the error itself."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (KantataError, WarehouseError, Stopped)) or no_room(seen):
            return seen
        seen = seen.__cause__ or seen.__context__
    return error
