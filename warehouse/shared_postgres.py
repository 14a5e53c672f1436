"""Readers of a Postgres warehouse for many threads, as the role that reads."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from threading import Lock
from typing import Any

import psycopg2

from .database import DATASET
from .errors import WarehouseMisconfigured
from .failures import database_failure, driver_message
from .postgres_url import SESSION_SETTINGS, postgres_parameters, postgres_uri
from .reader import no_warehouse
from .shared_reader import CursorReader, SharedReader
from .target import Target

_MOST_IDLE = 5  # connections that are kept
SETTING = "WAREHOUSE__READER_CREDENTIALS"
_IS_READABLE = f"select has_schema_privilege(current_user, '{DATASET}', 'usage')"
_EXISTS = f"select 1 from pg_namespace where nspname = '{DATASET}'"


class PostgresReaders:
    """Readers of a Postgres warehouse, as the role that reads.

    Args:
        target: The warehouse.
    """

    def __init__(self, target: Target) -> None:
        self._target = target
        self._uri = postgres_uri(postgres_parameters(target.reader_credentials, SETTING))
        self._lock = Lock()
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
                on_server = connection.cursor(name="milestones_rows")  # its rows stay there
                yield CursorReader(cursor, "Postgres", "%s", on_server)
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
            with self._lock:
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
            raise database_failure(f"{SETTING}: {driver_message(error)}") from None
        if not is_readable:
            connection.close()
            raise self._unreadable() if exists else no_warehouse(self._target)
        return connection

    def _unreadable(self) -> WarehouseMisconfigured:
        """Return the error for a role that reads the marts only."""
        return WarehouseMisconfigured(
            f"the role in {SETTING} may not read the schema {DATASET} of the warehouse: for the "
            "console, make it a member of milestones_proposer in warehouse/roles.sql"
        )

    def _give_back(self, connection: Any) -> None:  # noqa: ANN401 - psycopg2 has no types
        """End the transaction of a connection to Postgres, and keep the connection or close it."""
        try:
            connection.rollback()
        except psycopg2.Error:
            return
        with self._lock:
            if len(self._idle) < _MOST_IDLE:
                self._idle.append(connection)
                return
        connection.close()

    def close(self) -> None:
        """Close the connections to Postgres that are idle."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            with suppress(psycopg2.Error):
                connection.close()
