"""Reading the warehouse in many threads, for hours: what the console's pages are read with.

It holds no lock of a run. On DuckDB it reads the published file, and opens it again when a run has
replaced it. One process caches a database by its path, so all readers of the old file must have
ended before.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from threading import Condition
from typing import Any, NamedTuple, Protocol

import duckdb
import psycopg2

from .database import DATASET
from .errors import WarehouseError, WarehouseMisconfigured
from .failures import database_failure, driver_message
from .postgres_url import SESSION_SETTINGS, postgres_parameters, postgres_uri
from .reader import connect_published, no_warehouse
from .target import Target

_MOST_IDLE = 5  # connections to Postgres that are kept
_PATIENCE = 2.0  # seconds to wait for readers of an old file, before the old file is read again
_SETTING = "WAREHOUSE__READER_CREDENTIALS"
_IS_READABLE = f"select has_schema_privilege(current_user, '{DATASET}', 'usage')"
_EXISTS = f"select 1 from pg_namespace where nspname = '{DATASET}'"


class SharedReader(Protocol):
    """Runs queries on one consistent state of the warehouse; ``%s`` stands for a value."""

    source: str

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""

    def records(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Return the rows of a query as dictionaries, by column name."""

    def chunks(self, sql: str, *values: object) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Yield the rows of a query, some thousands at a time."""


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
            f"the console reads Postgres as a role of its own: set {_SETTING} to a login that is a "
            "member of milestones_proposer in warehouse/roles.sql"
        )
    return PostgresReaders(target)


_CHUNK = 5_000


class _Reader:
    """Reads with a cursor of a driver.

    Args:
        cursor: The cursor.
        source: What it reads, for messages.
        marker: The driver's placeholder of a value.
    """

    def __init__(self, cursor: Any, source: str, marker: str) -> None:  # noqa: ANN401 - a driver's
        self._cursor = cursor
        self._marker = marker
        self.source = source

    def _execute(self, sql: str, values: Sequence[object]) -> Any:  # noqa: ANN401 - a driver's
        """Run a query with the reader's cursor, and return the cursor."""
        if values:
            self._cursor.execute(sql.replace("%s", self._marker), list(values))
        else:
            self._cursor.execute(sql)
        return self._cursor

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query that this reader runs."""
        return list(map(tuple, self._execute(sql, values).fetchall()))

    def records(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Return the rows of a query that this reader runs, by column name."""
        cursor = self._execute(sql, values)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def chunks(self, sql: str, *values: object) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Yield the rows of a query that this reader runs, some thousands at a time."""
        cursor = self._execute(sql, values)
        while rows := cursor.fetchmany(_CHUNK):
            yield rows


class _FileKey(NamedTuple):
    """What tells one published file from the next."""

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
            WarehouseError: If there is none, or it cannot be read.
        """
        file = self._enter()
        try:
            cursor = file.connection.cursor()
            try:
                cursor.execute("set timezone = 'UTC'")  # a cursor does not take it over
                yield _Reader(cursor, str(self._path), "?")
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
            connection = connect_published(self._path)
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


class PostgresReaders:
    """Readers of a Postgres warehouse, as the role that reads.

    Args:
        target: The warehouse.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._uri = postgres_uri(postgres_parameters(target.reader_credentials, _SETTING))
        self._changed = Condition()
        self._idle: list[Any] = []

    @contextmanager
    def open(self) -> Iterator[SharedReader]:
        """Open a reader of the Postgres warehouse as it is now.

        Raises:
            WarehouseError: If it cannot be read.
        """
        connection = self._taken()
        is_good = False
        try:
            with connection.cursor() as cursor:
                cursor.execute("set local timezone = 'UTC'")
                yield _Reader(cursor, "Postgres", "%s")
            is_good = True
        except psycopg2.Error as error:
            message = f"the warehouse failed: {driver_message(error)}"
            raise database_failure(message) from None
        finally:
            self._give_back(connection)
            if not is_good:
                self.close()

    def _taken(self) -> Any:  # noqa: ANN401 - psycopg2 has no types
        """Return an idle connection to Postgres that works, or a new one."""
        while True:
            with self._changed:
                connection = self._idle.pop() if self._idle else None
            if connection is None:
                return self._connected()
            try:
                with connection.cursor() as cursor:
                    cursor.execute("select 1")
            except psycopg2.Error:
                with suppress(psycopg2.Error):
                    connection.close()
            else:
                return connection

    def _connected(self) -> Any:  # noqa: ANN401 - psycopg2 has no types
        """Return a new connection to Postgres that only reads, one state for each transaction."""
        try:
            connection = psycopg2.connect(self._uri)
            with connection, connection.cursor() as cursor:
                cursor.execute(SESSION_SETTINGS)
                cursor.execute(_EXISTS)
                exists = cursor.fetchone() is not None
                if exists:
                    cursor.execute(_IS_READABLE)
                is_readable = exists and cursor.fetchone()[0]
            connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        except psycopg2.Error as error:
            raise database_failure(f"{_SETTING}: {driver_message(error)}") from None
        if not is_readable:
            connection.close()
            raise self._unreadable() if exists else no_warehouse(self._target)
        return connection

    def _unreadable(self) -> WarehouseMisconfigured:
        """Return the error for a role that reads the marts only."""
        return WarehouseMisconfigured(
            f"the role in {_SETTING} may not read the schema {DATASET} of the warehouse: for the "
            "console, make it a member of milestones_proposer in warehouse/roles.sql"
        )

    def _give_back(self, connection: Any) -> None:  # noqa: ANN401 - psycopg2 has no types
        """End the transaction of a connection to Postgres, and keep the connection or close it."""
        try:
            connection.rollback()
        except psycopg2.Error:
            return
        with self._changed:
            if len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close the connections to Postgres that are idle."""
        with self._changed:
            idle, self._idle = self._idle, []
        for connection in idle:
            with suppress(psycopg2.Error):
                connection.close()
