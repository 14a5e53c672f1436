"""Reading the warehouse without getting in the way of a run."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import duckdb
from dlt.destinations.exceptions import DatabaseException

from warehouse.database import Database, connect, reason
from warehouse.errors import WarehouseBusy, WarehouseError
from warehouse.locks import file_lock

from .target import Target

NO_MILESTONES_YET = "holds no milestones yet: run `milestones sync`"
_HAS_MILESTONES = (
    "select 1 from information_schema.tables "
    "where table_schema = 'kantata' and table_name = 'billing_milestones'"
)
_ONE_SELECT = "it must be one select, which writes nothing and reads only the warehouse"
# The file itself and nothing else: neither other files nor variables of this program.
_READ_ONLY = {
    "autoinstall_known_extensions": False,
    "autoload_known_extensions": False,
    "enable_external_access": False,
    "python_enable_replacements": False,
    "lock_configuration": True,
}
# A superuser's query could write files of the server; who reads all tables cannot.
_DROP_SUPERUSER = (
    "select set_config('role', rolname, true) from pg_roles "
    "where rolname = 'pg_read_all_data' and current_setting('is_superuser') = 'on'"
)
# The text is a value here and never part of a statement of ours, and a cursor takes one query.
_OPEN_CURSOR = """
do $$
declare asked refcursor := 'milestones_asked';
begin open asked no scroll for execute current_setting('milestones.asked'); end
$$
"""
_IDS_PER_QUERY = 500  # ids in one query
Rows = tuple[Sequence[str], list[tuple[Any, ...]]]


class QueryRefused(Exception):
    """A text somebody gave is no query, or one that fails."""


class WarehouseReader(Protocol):
    """Asks the warehouse."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""

    def records(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query, each by the names of its columns."""

    def run_untrusted(self, sql: str) -> Rows:
        """The columns and rows of a text that somebody else wrote.

        Raises:
            QueryRefused: If it is not one query that only reads the warehouse, or it fails.
        """


@contextmanager
def open_reader(target: Target) -> Iterator[tuple[str, WarehouseReader]]:
    """The warehouse itself, or the published file while a run has it: its name, and how to ask.

    Raises:
        WarehouseError: If there is none, or it cannot be read.
    """
    if target.loader is None:
        with connect(target.destination) as database:
            database.run("begin isolation level repeatable read read only")
            if "billing_milestones" not in database.tables():
                raise WarehouseError(f"Postgres {NO_MILESTONES_YET}")
            yield "Postgres", _PostgresReader(database)
        return
    if not target.loader.exists():
        raise WarehouseError(f"there is no {target.loader} yet: run `milestones sync`")
    try:
        with file_lock(target.lock, shared=True), _duckdb_reader(target.loader) as query:
            yield str(target.loader), query
    except WarehouseBusy as busy:
        if target.published is None or not target.published.exists():
            raise
        with _duckdb_reader(target.published) as query:
            yield f"{target.published} ({busy})", query


class _PostgresReader:
    """A Postgres in a transaction that only reads."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.rows = database.rows
        self.records = database.records

    def run_untrusted(self, sql: str) -> Rows:
        _check_text(sql)
        try:
            # What the text sets is undone with it; none can make a transaction write again.
            self._database.run("savepoint asked")
            self._database.run(_DROP_SUPERUSER)
            self._database.run("select set_config('milestones.asked', %s, true)", sql)
            self._database.run(_OPEN_CURSOR)
            found = self._database.table("fetch all from milestones_asked")
            self._database.run("rollback to savepoint asked")
        except DatabaseException as error:
            said = reason(error)
            raise QueryRefused(_ONE_SELECT if "as cursor" in said else said) from None
        return found


class _DuckDBReader:
    """A DuckDB file that is only read."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()

    def records(self, sql: str) -> list[dict[str, Any]]:
        cursor = self._connection.execute(sql)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def run_untrusted(self, sql: str) -> Rows:
        _check_text(sql)
        try:
            kinds = [statement.type for statement in self._connection.extract_statements(sql)]
            if kinds != [duckdb.StatementType.SELECT]:
                raise QueryRefused(_ONE_SELECT)
            cursor = self._connection.execute(sql)
            return [column[0] for column in cursor.description or ()], cursor.fetchall()
        except duckdb.Error as error:
            raise QueryRefused(reason(error)) from None


def _check_text(sql: str) -> None:
    try:
        sql.encode()
    except UnicodeEncodeError:
        raise QueryRefused("it is not text in UTF-8") from None
    if "\0" in sql:
        raise QueryRefused("it is no text: it has a null character")


@contextmanager
def _duckdb_reader(path: Path) -> Iterator[WarehouseReader]:
    try:
        connection = duckdb.connect(str(path), read_only=True, config=dict(_READ_ONLY))
    except duckdb.Error as error:
        raise WarehouseError(f"cannot read {path}: {reason(error)}") from None
    try:
        with connection:
            if not connection.execute(_HAS_MILESTONES).fetchall():
                raise WarehouseError(f"{path} {NO_MILESTONES_YET}")
            yield _DuckDBReader(connection)
    except duckdb.Error as error:
        raise WarehouseError(f"cannot read {path}: {reason(error)}") from None


def rows_by_id(query: WarehouseReader, sql: str, ids: Iterable[str]) -> list[dict[str, Any]]:
    """The rows of these ids; what is no number has none, and never gets into the SQL.

    Args:
        query: The warehouse.
        sql: A query up to the name of the column that must be one of the ids.
        ids: The ids.
    """
    numbers = sorted(id_ for id_ in ids if re.fullmatch(r"[0-9]+", id_))
    return [
        row
        for start in range(0, len(numbers), _IDS_PER_QUERY)
        for row in query.records(f"{sql} in ({_listed(numbers[start : start + _IDS_PER_QUERY])})")
    ]


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(f"'{id_}'" for id_ in ids)
