"""The lock that lets one push at a time send changes of a ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from warehouse.locks import acquire, file_lock

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
    """
    if ledger.is_postgres:
        try_lock = partial(_try_advisory_lock, ledger.connection)
        acquire(try_lock, lambda: "another push is in progress on this ledger", wait=wait)
        yield  # the lock ends with the connection
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


def _try_advisory_lock(connection: Connection) -> bool:
    """Try once to take the push lock on a ledger's Postgres; return whether it succeeded."""
    first, second = (str(key) for key in PUSH_LOCK_KEY)
    with connection.begin():
        query = sa.text(f"select pg_try_advisory_lock({first}, {second})")
        return bool(connection.execute(query).scalar())
