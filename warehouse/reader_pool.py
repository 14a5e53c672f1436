"""Reading the warehouse in many threads, for hours: what the console's pages are read with.

It holds no lock of a run. On DuckDB it reads the published file, and opens it again when a run has
replaced it. One process caches a database by its path, so all readers of the old file must have
ended before.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from pathlib import Path
from threading import Condition
from typing import NamedTuple, Protocol

import duckdb

from .errors import WarehouseError, WarehouseMisconfigured
from .failures import driver_message
from .moved import check_not_moved
from .query_memory import USUAL_MEMORY_MB, SharedMemory
from .reader import connect_published, no_warehouse
from .shared_postgres import SETTING, PostgresReaders
from .shared_reader import CursorReader, SharedReader, StateMemory
from .target import Target

_PATIENCE = 2.0  # seconds to wait for readers of an old file, before the old file is read again


class ReaderPool(Protocol):
    """Gives readers of a warehouse to many threads."""

    def open(self) -> AbstractContextManager[SharedReader]:
        """Open a reader of the state that is the current one."""

    def close(self) -> None:
        """Close all connections that are not in use."""


def reader_pool(target: Target) -> ReaderPool:
    """Return a pool of readers of a warehouse.

    Raises:
        WarehouseMisconfigured: If there is no role that reads Postgres.
    """
    if target.published is not None:
        return PublishedReaders(target)
    if not target.reader_credentials:
        raise WarehouseMisconfigured(
            f"the console reads Postgres as a role of its own: set {SETTING} to a login that is a "
            "member of milestones_proposer in warehouse/roles.sql"
        )
    return PostgresReaders(target)


@cache
def _limits() -> dict[str, str | int]:
    """Return the limits of a shared file: what queries do not need goes to a private folder.

    Each query runs in the thread that asks for it: two at once use two cores, in less memory.

    The folder is removed when the process ends.
    """
    folder = tempfile.mkdtemp(prefix="milestones-reader-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return {"memory_limit": f"{USUAL_MEMORY_MB}MB", "threads": 1, "temp_directory": folder}


class _FileKey(NamedTuple):
    """What distinguishes one published file from the next."""

    device: int
    inode: int
    changed: int


class _OpenFile:
    """A published file that is open.

    Args:
        key: Which one it is.
        connection: The connection whose cursors read it.
    """

    def __init__(self, key: _FileKey, connection: duckdb.DuckDBPyConnection) -> None:
        self.key = key
        self.connection = connection
        self.values = StateMemory()
        self.memory = SharedMemory(connection)
        self.readers = 0


class PublishedReaders:
    """Readers of the published DuckDB file.

    Args:
        target: The warehouse.
    """

    def __init__(self, target: Target) -> None:
        assert target.published  # noqa: S101 - only DuckDB publishes
        self._target = target
        self._path: Path = target.published
        self._changed = Condition()
        self._open: _OpenFile | None = None

    @contextmanager
    def open(self) -> Iterator[SharedReader]:
        """Open a reader of the published file as it is now.

        Raises:
            WarehouseError: If there is none, it was moved to Postgres, or it cannot be read.
        """
        check_not_moved(self._target)  # the console runs for months
        file = self._enter()
        try:
            cursor = file.connection.cursor()
            try:
                cursor.execute("set timezone = 'UTC'")  # a cursor does not take it over
                yield CursorReader(
                    cursor, str(self._path), "?", known=file.values, memory=file.memory
                )
            finally:
                cursor.close()
        except duckdb.Error as error:
            raise WarehouseError(f"cannot read {self._path}: {driver_message(error)}") from None
        finally:
            with self._changed:
                file.readers -= 1
                self._changed.notify_all()

    def _enter(self) -> _OpenFile:
        """Return the published file, opened, and count one more reader of it."""
        deadline = time.monotonic() + _PATIENCE
        with self._changed:
            while True:
                key = self._key()
                file = self._open
                if file is not None and (file.key == key or time.monotonic() > deadline):
                    break
                if file is not None and file.readers:
                    self._changed.wait(0.1)
                    continue
                file = self._reopen(key)
                break
            file.readers += 1
            return file

    def _key(self) -> _FileKey:
        """Return which published file there is now.

        Raises:
            NoWarehouse: If there is none.
        """
        try:
            found = os.stat(self._path)
        except OSError:
            raise no_warehouse(self._target) from None
        return _FileKey(found.st_dev, found.st_ino, found.st_mtime_ns)

    def _reopen(self, key: _FileKey) -> _OpenFile:
        """Close the published file that was replaced, which nobody reads, and open the new one."""
        self.close()
        while True:
            connection = connect_published(self._path, _limits())
            if (now := self._key()) == key:
                self._open = _OpenFile(key, connection)
                return self._open
            connection.close()  # replaced between the two
            key = now

    def close(self) -> None:
        """Close the published file, unless somebody reads it."""
        with self._changed:
            if self._open is not None and not self._open.readers:
                self._open.connection.close()
                self._open = None
