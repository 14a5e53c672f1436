"""Reading the warehouse without disturbing a run."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, Protocol

import duckdb

from warehouse.database import Database, connect
from warehouse.errors import (
    NoWarehouse,
    OpenElsewhere,
    WarehouseBusy,
    WarehouseDamaged,
    WarehouseError,
    WarehouseMisconfigured,
)
from warehouse.failures import WITHOUT_EITHER, damaged, driver_message, open_elsewhere
from warehouse.locks import file_lock

from .target import Target

NO_MILESTONES_YET = "holds no milestones yet: run `milestones sync`"
_HAS_MILESTONES = (
    "select 1 from information_schema.tables "
    "where table_schema = 'kantata' and table_name = 'billing_milestones'"
)
# A query may read the warehouse's file only: no other file, and no variable of this program.
_READ_ONLY = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "enable_external_access": False,
    "python_enable_replacements": False,
}
# In every time zone of the machine, a query gives the same days. DuckDB accepts this setting only
# when the connection is open, so the configuration is locked after it.
_PINNED = "set timezone = 'UTC'; set lock_configuration = true"
_IDS_PER_QUERY = 500


class WarehouseReader(Protocol):
    """Runs queries on the warehouse."""

    @property
    def source(self) -> str:
        """The database or file that the reader reads, for messages."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Read the warehouse with a query; return its rows."""

    def records(self, sql: str) -> list[dict[str, Any]]:
        """Read the warehouse with a query; return its rows as dictionaries, by column name."""


@contextmanager
def open_reader(target: Target) -> Iterator[WarehouseReader]:
    """Open a reader of the warehouse; of the published file while the other one is in use.

    Raises:
        WarehouseError: If there is no warehouse, or it cannot be read.
    """
    if target.loader is None:
        with connect(target.destination) as database:
            database.execute("begin isolation level repeatable read read only")
            database.execute("set local timezone = 'UTC'")  # behind a pooler, again
            if "billing_milestones" not in database.tables():
                raise _unreadable(database) or no_warehouse(target)
            yield _PostgresReader(database)
        return
    if _is_missing(target.loader, target.published):
        check_exists(target)
        assert target.published  # noqa: S101 - it exists
        state = "does not exist here, or is empty"
        with _open_published(target.published, target.loader, state) as reader:
            yield reader
        return
    why: WarehouseError | None = None
    with ExitStack() as stack:
        try:
            stack.enter_context(file_lock(target.lock, shared=True))
            reader = stack.enter_context(_open_duckdb(target.loader))
        except (WarehouseBusy, OpenElsewhere, WarehouseDamaged) as busy:
            if target.published is None or not os.path.exists(target.published):
                raise _without_published(busy, target) from None
            stack.close()
            why = busy
        if why and target.published:  # not above, where its error would seem to come from the other
            state = "is damaged, too" if isinstance(why, WarehouseDamaged) else ""
            reader = stack.enter_context(
                _open_published(target.published, target.loader, state, why)
            )
        yield reader


def _is_missing(loader: Path, published: Path | None) -> bool:
    """Return whether a reader must use the published file, since there is no loader's file.

    One that a user may not see does not exist; nor does an empty one next to a published file.
    """
    if not os.path.exists(loader):
        return True
    return loader.stat().st_size == 0 and published is not None and published.exists()


def _without_published(error: WarehouseError, target: Target) -> WarehouseError:
    """Return the error of the loader's file for a reader that has no other file to read."""
    if not isinstance(error, WarehouseDamaged):
        return error
    return WarehouseDamaged(
        f"{target.loader} is damaged, and there is no published file: {driver_message(error)}. "
        f"{WITHOUT_EITHER}"
    )


@contextmanager
def _open_published(
    published: Path, loader: Path, state: str, why: WarehouseError | None = None
) -> Iterator[WarehouseReader]:
    """Open a reader of the published file, since the loader's file cannot be read.

    Args:
        published: The published file.
        loader: The loader's file.
        state: Why no later run can use it; empty if one can.
        why: The error that it gave, if any.

    Raises:
        WarehouseDamaged: If the published file is damaged; it says what remains.
    """
    try:
        with _open_duckdb(published, f"{published} ({why})" if why else "") as reader:
            yield reader
    except WarehouseDamaged as error:
        found = driver_message(error)
        remains = (
            f", and {loader} {state}. {WITHOUT_EITHER}"
            if state
            else (". The next sync replaces it")
        )
        raise WarehouseDamaged(
            f"the published file {published} is damaged: {found}{remains}"
        ) from None


def no_warehouse(target: Target) -> NoWarehouse:
    """Return the error for a target without a warehouse; it says where it was looked for."""
    place = target.folder.absolute() if target.loader else "this Postgres database"
    return NoWarehouse(
        f"there is no warehouse in {place}: run `milestones sync`, which creates one, or "
        + (
            "start the command in the folder of your warehouse"
            if target.loader
            else "correct DESTINATION__POSTGRES__CREDENTIALS"
        )
    )


def _unreadable(database: Database) -> WarehouseMisconfigured | None:
    """Return the error if the reader's role may not see the Postgres warehouse; None if it may."""
    hidden = (
        "select 1 from pg_namespace where nspname = 'kantata' "
        "and not has_schema_privilege(oid, 'usage')"
    )
    if not database.rows(hidden):
        return None
    return WarehouseMisconfigured(
        "this role may not read the schema kantata of the Postgres warehouse: use another, such as "
        "milestones_loader or milestones_proposer in warehouse/roles.sql"
    )


def check_exists(target: Target) -> None:
    """Check that there is a warehouse to read, without creating anything.

    Raises:
        NoWarehouse: If no run has created one.
        WarehouseError: If Postgres does not answer.
    """
    if target.loader is None:
        with connect(target.destination) as database:
            if "sync_runs" not in database.tables():
                raise _unreadable(database) or no_warehouse(target)
    elif not any(map(os.path.exists, filter(None, (target.loader, target.published)))):
        raise no_warehouse(target)


class _PostgresReader:
    """Reads a Postgres warehouse, in a read-only transaction."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.source = "Postgres"
        self.rows = database.rows
        self.records = database.records


class _DuckDBReader:
    """Reads a DuckDB file, opened read-only."""

    def __init__(self, connection: duckdb.DuckDBPyConnection, source: str) -> None:
        self._connection = connection
        self.source = source

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Read the DuckDB file with a query; return its rows."""
        return self._connection.execute(sql).fetchall()

    def records(self, sql: str) -> list[dict[str, Any]]:
        """Read the DuckDB file with a query; return its rows as dictionaries, by column name."""
        cursor = self._connection.execute(sql)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@contextmanager
def _open_duckdb(path: Path, source: str = "") -> Iterator[WarehouseReader]:
    """Open a reader of a DuckDB file."""
    with _connected(path) as connection:
        yield _DuckDBReader(connection, source or str(path))


def open_published(target: Target) -> AbstractContextManager[duckdb.DuckDBPyConnection]:
    """Open the published file to be read by a query that can read no other file.

    Raises:
        WarehouseError: If it does not exist, or cannot be read.
    """
    assert target.published  # noqa: S101 - only DuckDB publishes
    if not target.published.exists():
        raise WarehouseError(f"there is no {target.published}: `milestones sync` publishes it")
    return _connected(target.published)


def connect_published(path: Path, limits: Mapping[str, str | int]) -> duckdb.DuckDBPyConnection:
    """Connect to a published file for readers that share it; each sets its own time zone.

    Args:
        path: The file.
        limits: Settings of DuckDB for its memory, the same whenever this process connects to it.

    Raises:
        WarehouseError: If it cannot be read.
    """
    try:
        connection = duckdb.connect(str(path), read_only=True, config={**_READ_ONLY, **limits})
        try:
            if not connection.execute(_HAS_MILESTONES).fetchall():
                raise WarehouseError(f"{path} {NO_MILESTONES_YET}")
        except BaseException:
            connection.close()
            raise
    except duckdb.Error as error:
        raise _cannot_read(path, error) from None
    return connection


@contextmanager
def _connected(path: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """Connect to a DuckDB file for a reader, whose queries can read no other file."""
    try:
        connection = duckdb.connect(str(path), read_only=True, config=dict(_READ_ONLY))
    except duckdb.Error as error:
        raise _cannot_read(path, error) from None
    try:
        with connection:
            connection.execute(_PINNED)
            if not connection.execute(_HAS_MILESTONES).fetchall():
                raise WarehouseError(f"{path} {NO_MILESTONES_YET}")
            yield connection
    except duckdb.Error as error:
        raise _cannot_read(path, error) from None


def _cannot_read(path: Path, error: duckdb.Error) -> WarehouseError:
    """Return the error for a DuckDB file that a reader cannot read."""
    message = f"cannot read {path}: {driver_message(error)}"
    if "not a valid DuckDB" in message:
        return WarehouseDamaged(message)
    return open_elsewhere(error) or damaged(error) or WarehouseError(message)


def rows_by_id(reader: WarehouseReader, sql: str, ids: Iterable[str]) -> list[dict[str, Any]]:
    """Return the rows that a reader finds by these ids; ids that are not numbers are left out.

    Args:
        reader: The warehouse.
        sql: A query that ends with the name of the column to compare with the ids.
        ids: The ids. Only digits get into the SQL.
    """
    numbers = sorted(id_ for id_ in ids if re.fullmatch(r"[0-9]+", id_))
    return [
        row
        for start in range(0, len(numbers), _IDS_PER_QUERY)
        for row in reader.records(f"{sql} in ({_quoted(numbers[start : start + _IDS_PER_QUERY])})")
    ]


def _quoted(ids: Sequence[str]) -> str:
    """Return ids as SQL literals for a reader's query, separated by commas."""
    return ", ".join(f"'{id_}'" for id_ in ids)
