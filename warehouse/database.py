"""Connections to the warehouse: SQL, the same for DuckDB and Postgres, and its failures."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, NamedTuple, Protocol
from weakref import WeakKeyDictionary, WeakSet

import dlt
import pyarrow as pa
from dlt.common.configuration.exceptions import ConfigurationException
from dlt.common.destination import Destination
from dlt.destinations.exceptions import DatabaseException, DatabaseTransientException
from dlt.destinations.sql_client import SqlClientBase
from dlt.pipeline.exceptions import PipelineStepFailed

from .errors import (
    WarehouseError,
    WarehouseMisconfigured,
    WarehouseUnavailable,
    WarehouseUnwritable,
)
from .failures import (
    CONFIGURATION_ERRORS,
    damaged,
    database_failure,
    driver_message,
    is_disk_full,
    load_failure,
    open_elsewhere,
)
from .postgres_url import SESSION_SETTINGS

DATASET = "kantata"
STAGING, MARTS = f"{DATASET}_stg", f"{DATASET}_marts"
_ROWS_PER_BATCH = 50_000
_ROWS_PER_INSERT = 500
_ENCODING = "UTF8"


class QueryResult(NamedTuple):
    """The result of a query.

    Args:
        columns: The names of its columns; two may be equal.
        rows: The values, by position.
    """

    columns: list[str]
    rows: list[tuple[Any, ...]]


class Reader(Protocol):
    """A database that holds the tables of a warehouse, to read it by SQL."""

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query on the database; the values replace its ``%s``."""


class Database:
    """A connection to the warehouse.

    Args:
        client: dlt's SQL client, opened.
    """

    def __init__(self, client: SqlClientBase[Any]) -> None:
        self._client = client
        self._read: WeakSet[Generator[pa.RecordBatch, None, None]] = WeakSet()

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query on the database; the values replace its ``%s``."""
        with self._client.execute_query(sql, *values) as cursor:
            return [tuple(row) for row in cursor.fetchall()]

    def execute(self, sql: str, *values: object) -> None:
        """Execute a statement in the database; the values replace its ``%s``."""
        self._client.execute_sql(sql, *values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all statements of the block to the database together, or none if it fails."""
        with self._client.begin_transaction():
            yield

    def batches(
        self, sql: str, *values: object, size: int = _ROWS_PER_BATCH
    ) -> Iterator[pa.RecordBatch]:
        """Read a query's rows from the database in bounded batches, until the connection closes."""
        batches = self._batches(sql, *values, size=size)
        self._read.add(batches)
        return batches

    def _batches(
        self, sql: str, *values: object, size: int
    ) -> Generator[pa.RecordBatch, None, None]:
        """Yield the rows of a query on the database as Arrow batches of bounded size."""
        with (
            self._client.execute_query(sql, *values) as cursor,
            closing(cursor.iter_arrow(chunk_size=size)) as tables,
        ):
            try:
                for table in tables:
                    yield from table.to_batches()
            except OSError as error:  # Arrow raises it for every DuckDB error while reading
                raise DatabaseTransientException(error) from error

    def close(self) -> None:
        """Close the database's batches not read to their end; its connection is closed next.

        The traceback of an error may keep such batches, and they keep a DuckDB file open after its
        connection is closed. If this process opens that file again, DuckDB waits for ever, with a
        core at full load: https://github.com/duckdb/duckdb/issues/25965. If it does not, the
        garbage collector closes the file later, in any thread.
        """
        for batches in tuple(self._read):
            batches.close()

    def insert(self, table: str, rows: Sequence[Sequence[object]]) -> None:
        """Insert rows into a table of the database, up to 500 in one statement."""
        for start in range(0, len(rows), _ROWS_PER_INSERT):
            chunk = rows[start : start + _ROWS_PER_INSERT]
            placeholders = f"({', '.join(['%s'] * len(chunk[0]))})"
            values = [value for row in chunk for value in row]
            listed = ", ".join([placeholders] * len(chunk))
            self.execute(f"insert into {table} values {listed}", *values)

    def insert_many(
        self, table: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]
    ) -> None:
        """Insert thousands of rows into a table of the database: on DuckDB, as Arrow.

        DuckDB takes a second for a thousand rows of parameters.

        Args:
            table: The table.
            columns: The names of the columns.
            rows: Their values; those of a column must have one type.
        """
        if self.is_postgres or not rows:
            self.insert(f"{table} ({', '.join(columns)})", rows)
            return
        arrow = pa.table(dict(zip(columns, map(list, zip(*rows, strict=True)), strict=True)))
        connection = self._client.native_connection
        connection.register("inserted", arrow)
        try:
            self.execute(f"insert into {table} by name select * from inserted")
        finally:
            connection.unregister("inserted")

    def records(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query on the database as dictionaries, by column name."""
        result = self.query(sql)
        return [dict(zip(result.columns, row, strict=True)) for row in result.rows]

    def query(self, sql: str) -> QueryResult:
        """Return the columns and rows of a query on the database."""
        with self._client.execute_query(sql) as cursor:
            columns = [column[0] for column in cursor.description]
            return QueryResult(columns, [tuple(row) for row in cursor.fetchall()])

    @property
    def is_postgres(self) -> bool:
        """Whether the database is Postgres, which needs indexes and statistics, and not DuckDB."""
        return self._client.capabilities.sqlglot_dialect == "postgres"

    def check_rights(self) -> None:
        """Check that a run may write the database, and create its schemas if they do not exist yet.

        Raises:
            WarehouseMisconfigured: If it could not.
        """
        if not self.is_postgres:
            return
        ((may_create, is_read_only),) = self.rows(
            "select has_database_privilege(current_database(), 'create'), "
            "current_setting('transaction_read_only') = 'on'"
        )
        if is_read_only:
            raise WarehouseMisconfigured("the Postgres server or role only allows reading")
        if not may_create and not self.tables() and not self._has_schema(DATASET):
            raise WarehouseMisconfigured(
                "the Postgres role may not create schemas: grant create on database NAME to ROLE, "
                "or run warehouse/roles.sql, which creates the schemas and their owner"
            )

    def _has_schema(self, name: str) -> bool:
        """Return whether a schema exists in the database."""
        query = "select 1 from information_schema.schemata where schema_name = %s"
        return bool(self.rows(query, name))

    def check_load_connection(self) -> None:
        """Check that the driver that loads rows can connect to the database, too.

        Raises:
            WarehouseError: If it cannot.
        """
        if not self.is_postgres:
            return
        with self.arrow_connection():
            pass

    @contextmanager
    def arrow_connection(self) -> Iterator[Any]:
        """Open a connection of ADBC to the same Postgres database; it streams rows as Arrow.

        Raises:
            WarehouseError: If it cannot connect, or reading fails.
        """
        from adbc_driver_postgresql import dbapi as adbc  # here: few commands need it

        try:
            uri = self._client.credentials.to_native_representation()
            with closing(adbc.connect(uri)) as connection:
                yield connection
        except adbc.Error as error:
            raise load_failure(error) from None

    def ensure_schema(self, name: str) -> None:
        """Create a schema in the database if it does not exist.

        ``create schema if not exists`` needs a privilege even when the schema exists.
        """
        if not self._has_schema(name):
            self.execute(f"create schema {name}")

    def tables(self, schema: str = DATASET) -> dict[str, dict[str, str]]:
        """Return the columns of every table of a database schema: dlt types by table and column."""
        tables: dict[str, dict[str, str]] = {}
        columns = _POSTGRES_COLUMNS if self.is_postgres else _DUCKDB_COLUMNS
        for table, column, data_type in self.rows(columns, schema):
            name = data_type.lower().partition("(")[0]
            tables.setdefault(table, {})[column] = _DLT_TYPES.get(name, name)
        return tables


_POSTGRES_COLUMNS = (
    "select table_name, column_name, data_type from information_schema.columns "
    "where table_schema = %s order by table_name, ordinal_position"
)
_DUCKDB_COLUMNS = (  # in half the time of its information_schema
    "select table_name, column_name, data_type from duckdb_columns() where schema_name = %s "
    "and database_name = current_database() order by table_name, column_index"
)

# dlt sets 1 GB: then all rows of a first sync are written to the log first, and to the file later.
_CHECKPOINTS = "reset checkpoint_threshold"

# dlt's client of each destination: to resolve its configuration takes longer than to connect.
_clients: WeakKeyDictionary[Destination[Any, Any], Any] = WeakKeyDictionary()

_DLT_TYPES = {
    "varchar": "text",
    "character varying": "text",
    "boolean": "bool",
    "double precision": "double",
    "timestamp with time zone": "timestamp",
    "numeric": "decimal",
}


@contextmanager
def connect(destination: Destination[Any, Any]) -> Iterator[Database]:
    """Connect to the database of a warehouse; its errors in the block become warehouse errors.

    The connection does not come from a dlt pipeline: that would read its working folder, which
    another run may be writing, or a killed run may have left incomplete.

    Raises:
        WarehouseMisconfigured: If the credentials are invalid or name no database.
        WarehouseUnavailable: If the database does not answer, or the connection fails later.
        WarehouseUnwritable: If the disk is full.
    """
    try:
        client = _sql_client(destination)
        connection = client.open_connection()
        client.execute_sql("set timezone = 'UTC'")  # otherwise the server or its role decides
        if hasattr(connection, "info"):
            _check_encoding(connection)
            client.execute_sql(SESSION_SETTINGS)
        else:
            client.execute_sql(_CHECKPOINTS)
    except WarehouseError:
        client.close_connection()
        raise
    except Exception as error:  # each driver has its own errors
        message = f"no connection to the warehouse: {driver_message(error)}"
        if isinstance(error, ConfigurationException):
            raise WarehouseMisconfigured(
                "the credentials of the destination are invalid. Postgres needs "
                "postgresql://user:password@host:5432/database"
            ) from None
        if any(words in message for words in CONFIGURATION_ERRORS):
            if destination.destination_name == "postgres":
                message += ". Correct DESTINATION__POSTGRES__CREDENTIALS, or the server's rights"
            raise WarehouseMisconfigured(message) from None
        if isinstance(error, ImportError):  # of a naming convention of dlt, for example
            raise WarehouseMisconfigured(message) from None
        if "Permission denied" in message:
            raise WarehouseUnwritable(message) from None
        raise open_elsewhere(error) or damaged(error) or WarehouseUnavailable(message) from None
    try:
        with closing(Database(client)) as database:
            yield database
    except (DatabaseException, PipelineStepFailed) as error:
        if not _is_database_error(error):
            raise
        if is_disk_full(error):
            raise WarehouseUnwritable(
                f"cannot write the warehouse: {driver_message(error)}"
            ) from error
        if failure := damaged(error):
            raise failure from error
        raise database_failure(f"the warehouse failed: {driver_message(error)}") from error
    finally:
        client.close_connection()


def _sql_client(destination: Destination[Any, Any]) -> SqlClientBase[Any]:
    """Return a new client of a database, which is not connected yet."""
    if (known := _clients.get(destination)) is None:
        known = dlt.dataset(destination, DATASET, dlt.Schema(DATASET)).destination_client
        _clients[destination] = known
    kind: Any = type(known)
    client: SqlClientBase[Any] = kind(known.schema, known.config, known.capabilities).sql_client
    return client


def _check_encoding(connection: Any) -> None:  # noqa: ANN401 - a driver's own
    """Refuse a Postgres database whose encoding cannot hold every text."""
    encoding = connection.info.parameter_status("server_encoding")
    if encoding != _ENCODING:
        raise WarehouseMisconfigured(
            f"the Postgres database has the encoding {encoding}, which cannot hold every name: "
            "create one with ENCODING 'UTF8' TEMPLATE template0, and use that"
        )


def _is_database_error(error: BaseException) -> bool:
    """Return whether a database error is the cause of an error, also within a step of dlt."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, DatabaseException):
        cause = cause.__cause__ or cause.__context__
    return cause is not None
