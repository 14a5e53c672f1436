"""Lock a warehouse, open its tables, and publish it to readers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from dlt.destinations.exceptions import DatabaseException

from sources.kantata.schema import LOADED
from warehouse import locks
from warehouse.database import Database, connect
from warehouse.errors import WarehouseError, WarehouseUnavailable
from warehouse.failures import driver_message
from warehouse.lineage import EmptyLoader, check_files, ensure_not_older
from warehouse.publish import publish
from warehouse.raw import schema
from warehouse.reader import no_warehouse
from warehouse.server_lock import ServerLock, ensure_own_session, server_lock
from warehouse.target import Target
from warehouse.user_marts import check_folder

from .loader import translate_errors

_RAW_TABLES = {
    table: schema.RawTable({name: kind.dlt_type for name, kind in columns.items()}, key)
    for table, (columns, key) in LOADED.items()
}


@dataclass(frozen=True)
class WarehouseLock:
    """The lock of a warehouse.

    Args:
        target: The warehouse.
        server: The lock on the Postgres server; None for DuckDB.
    """

    target: Target
    server: ServerLock | None


@contextmanager
def locked(
    target: Target,
    wait: float = 0.0,
    note: Callable[[str], None] | None = None,
    shortest_wait: float = locks.SHORTEST_WAIT,
) -> Iterator[WarehouseLock]:
    """Hold the lock of a warehouse for a session, on this machine and on its server.

    Args:
        target: The warehouse.
        wait: Seconds to wait for another run.
        note: Called with one line that names the run it waits for.
        shortest_wait: Seconds to wait at least.

    Raises:
        WarehouseBusy: If another run has the lock.
        WarehouseMisconfigured: If a connection pooler makes a lock on the server impossible.
        WarehouseError: If the lock cannot be taken for another reason.
    """
    file_lock = locks.file_lock(target.lock, wait=wait, note=note, shortest_wait=shortest_wait)
    with file_lock, translate_errors(target):
        if target.loader:
            yield WarehouseLock(target, None)
            return
        with connect(target.destination) as database:
            ensure_lockable(target, database)
            with server_lock(database, wait=wait, note=note, shortest_wait=shortest_wait) as server:
                yield WarehouseLock(target, server)


def ensure_lockable(target: Target, database: Database) -> None:
    """Check that a lock on a connection to Postgres, which a session needs, would hold.

    Args:
        target: The warehouse.
        database: The connection.

    Raises:
        WarehouseMisconfigured: If a connection pooler shares it with other processes.
    """
    if database.is_postgres:
        with connect(target.destination) as other:
            ensure_own_session(database.rows, other.rows)


def publish_to_readers(target: Target) -> None:
    """Publish a session's warehouse to readers: replace the DuckDB file; do nothing on Postgres.

    Raises:
        WarehouseUnwritable: If space or permission is missing; the old file stays.
    """
    if target.loader and target.published:
        publish(target.loader, target.published)


@contextmanager
def open_existing(lock: WarehouseLock) -> Iterator[Database]:
    """Open a session's connection to a warehouse that earlier runs have filled.

    Raises:
        NoWarehouse: If no run has created it yet.
        WarehouseMisconfigured: If the folder of users' marts cannot be read.
        WarehouseError: If the published file knows more, so that it must not be replaced.
    """
    target = lock.target
    if target.loader and not target.loader.exists():
        raise no_warehouse(target)
    check_files(target)
    check_folder(target.models)
    with connect(target.destination) as database:
        if "sync_runs" not in database.tables():
            raise no_warehouse(target)
        try:
            ensure_not_older(database, target)
        except EmptyLoader:
            raise WarehouseError(
                f"{target.loader} is empty, but {target.published} is not: run `milestones sync`, "
                "which restores it"
            ) from None
        yield database


def prepare_tables(database: Database) -> None:
    """Create the raw tables that a session needs and the warehouse lacks.

    Raises:
        WarehouseMisconfigured: If a later release wrote this warehouse.
    """
    schema.prepare_raw_tables(database, _RAW_TABLES)


def ensure_locked(lock: WarehouseLock) -> None:
    """Check that the session still has the lock on the server, before something is written.

    Raises:
        WarehouseUnavailable: If its connection is closed, so that another machine may have it.
        WarehouseMisconfigured: If a connection pooler gave the connection to another process.
    """
    try:
        if lock.server:
            lock.server.ensure_held()
    except DatabaseException as error:
        raise WarehouseUnavailable(
            f"the lock on the server was lost, so loading stopped: {driver_message(error)}. "
            "The next run repeats it."
        ) from None
