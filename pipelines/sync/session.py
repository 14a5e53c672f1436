"""A warehouse while a job has it: its lock, its tables, a load, and what failed in plain words."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dlt.destinations.exceptions import DatabaseException

from sources.kantata.schema import LOADED
from warehouse import locks
from warehouse.database import Database, connect, driver_message
from warehouse.errors import WarehouseError, WarehouseUnavailable
from warehouse.publish import publish
from warehouse.raw import schema
from warehouse.target import Target

from .loader import translate_errors

_RAW_TABLES = {
    table: schema.RawTable({name: kind.dlt_type for name, kind in columns.items()}, key)
    for table, (columns, key) in LOADED.items()
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
    shortest_wait: float = locks.SHORTEST_WAIT,
) -> Iterator[WarehouseLock]:
    """Hold the lock of a warehouse, on this machine and on its server.

    Args:
        target: The warehouse.
        wait: Seconds to wait for another run.
        note: Told in one line for which one it waits.
        shortest_wait: Seconds it waits at least.

    Raises:
        WarehouseBusy: If another run has it.
        WarehouseError: If it cannot be had.
    """
    file_lock = locks.file_lock(target.lock, wait=wait, note=note, shortest_wait=shortest_wait)
    with file_lock, translate_errors(target):
        if target.loader:
            yield WarehouseLock(target, None)
            return
        with (
            connect(target.destination) as server,
            locks.server_lock(server, wait=wait, note=note, shortest_wait=shortest_wait),
        ):
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


def prepare_tables(database: Database) -> None:
    """Make the raw tables that are not there yet.

    Raises:
        WarehouseMisconfigured: If a later release has written this warehouse.
    """
    schema.prepare_raw_tables(database, _RAW_TABLES)


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
            f"the lock on the server was lost, so nothing more is loaded: {driver_message(error)}. "
            "The next run does it all again."
        ) from None
