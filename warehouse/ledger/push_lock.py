"""The lock that lets one push at a time send changes of a ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy.engine import Connection

from warehouse.locks import acquire, file_lock
from warehouse.server_lock import ServerLock, ensure_own_session

from .schema import PUSH_LOCK_KEY
from .store import Ledger


@contextmanager
def push_lock(ledger: Ledger, wait: float = 0.0) -> Iterator[None]:
    """Hold a ledger's push lock; on Postgres it belongs to the ledger's own connection.

    Args:
        ledger: An open ledger.
        wait: Seconds to wait for another push.

    Raises:
        WarehouseBusy: If another push is still in progress.
        WarehouseMisconfigured: If a connection pooler makes a lock on the server impossible.
    """
    if ledger.is_postgres:
        ask = partial(_rows, ledger.connection)
        with ledger.connection.engine.connect() as other:
            ensure_own_session(ask, partial(_rows, other))
        lock = ServerLock(ask, PUSH_LOCK_KEY)
        acquire(lock.try_take, lambda: "another push is in progress on this ledger", wait=wait)
        ledger.push_lock = lock
        try:
            yield  # the lock ends with the connection
        finally:
            ledger.push_lock = None
        return
    with file_push_lock(Path(ledger.connection.engine.url.database or ""), wait):
        yield


def file_push_lock(file: Path, wait: float = 0.0) -> AbstractContextManager[None]:
    """Hold the push lock of a ledger in a SQLite file, which need not exist.

    Args:
        file: The file.
        wait: Seconds to wait for another push.

    Raises:
        WarehouseBusy: If another push is still in progress.
    """
    # Resolved, so that processes that open the file by different paths use the same lock.
    path = file.resolve()
    return file_lock(path.with_name(f"{path.name}.lock"), wait=wait, setting="LEDGER__URL")


def _rows(connection: Connection, sql: str, *values: object) -> list[tuple[Any, ...]]:
    """Run a statement for the push lock, in the open transaction or in one of its own."""
    if not connection.in_transaction():
        with connection.begin():
            return _rows(connection, sql, *values)
    return [tuple(row) for row in connection.exec_driver_sql(sql, values or None)]
