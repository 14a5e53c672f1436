"""One door to the warehouse's SQL, the same for DuckDB and Postgres."""

from __future__ import annotations

import errno
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, NamedTuple
from weakref import WeakSet

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

DATASET = "kantata"
STAGING, MARTS = f"{DATASET}_stg", f"{DATASET}_marts"
_ROWS_PER_BATCH = 50_000
_ROWS_PER_INSERT = 500
_PERMISSION_ERRORS = ("read-only transaction", "permission denied")
_MEMORY_ERRORS = ("Out of Memory Error", "could not allocate block")
_CONFIGURATION_ERRORS = (
    "authentication failed",
    "does not exist",
    "not a valid DuckDB",
    *_PERMISSION_ERRORS,
)


class QueryResult(NamedTuple):
    """What a query gives.

    Args:
        columns: Their names, which may be equal.
        rows: The values.
    """

    columns: list[str]
    rows: list[tuple[Any, ...]]


class Database:
    """A connection.

    Args:
        client: dlt's client, opened.
    """

    def __init__(self, client: SqlClientBase[Any]) -> None:
        self._client = client
        self._read: WeakSet[Generator[pa.RecordBatch, None, None]] = WeakSet()

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """The rows of a query; values take the place of ``%s``."""
        with self._client.execute_query(sql, *values) as cursor:
            return [tuple(row) for row in cursor.fetchall()]

    def execute(self, sql: str, *values: object) -> None:
        """Run a statement; values take the place of ``%s``."""
        self._client.execute_sql(sql, *values)

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """What is run within takes effect as a whole, or not at all."""
        with self._client.begin_transaction():
            yield

    def batches(self, sql: str, *values: object) -> Iterator[pa.RecordBatch]:
        """Read the rows of a query in batches of bounded size, until the connection is closed."""
        batches = self._batches(sql, *values)
        self._read.add(batches)
        return batches

    def _batches(self, sql: str, *values: object) -> Generator[pa.RecordBatch, None, None]:
        with (
            self._client.execute_query(sql, *values) as cursor,
            closing(cursor.iter_arrow(chunk_size=_ROWS_PER_BATCH)) as tables,
        ):
            try:
                for table in tables:
                    yield from table.to_batches()
            except OSError as error:  # as Arrow calls all that DuckDB meets by then
                raise DatabaseTransientException(error) from error

    def close(self) -> None:
        """Close the batches that were not read to their end; the connection is closed next.

        The traceback of an error may keep such batches, and they keep a DuckDB file open after its
        connection is closed. If this process opens that file again, DuckDB waits for ever, with a
        core at full load: https://github.com/duckdb/duckdb/issues/25965. If it does not, the
        garbage collector closes the file later, in any thread.
        """
        for batches in tuple(self._read):
            batches.close()

    def insert(self, table: str, rows: Sequence[Sequence[object]]) -> None:
        """Write rows into a table, some hundred in a statement."""
        for start in range(0, len(rows), _ROWS_PER_INSERT):
            chunk = rows[start : start + _ROWS_PER_INSERT]
            placeholders = f"({', '.join(['%s'] * len(chunk[0]))})"
            values = [value for row in chunk for value in row]
            listed = ", ".join([placeholders] * len(chunk))
            self.execute(f"insert into {table} values {listed}", *values)

    def records(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query, each by the names of its columns."""
        result = self.query(sql)
        return [dict(zip(result.columns, row, strict=True)) for row in result.rows]

    def query(self, sql: str) -> QueryResult:
        """The columns and rows of a query."""
        with self._client.execute_query(sql) as cursor:
            columns = [column[0] for column in cursor.description]
            return QueryResult(columns, [tuple(row) for row in cursor.fetchall()])

    @property
    def is_postgres(self) -> bool:
        """Whether it is Postgres, which wants indexes and statistics; else it is DuckDB."""
        return self._client.capabilities.sqlglot_dialect == "postgres"

    def ensure_schema(self, name: str) -> None:
        """Make a schema, unless it exists.

        ``if not exists`` would want a right that nobody needs for a schema that does.
        """
        query = "select 1 from information_schema.schemata where schema_name = %s"
        if not self.rows(query, name):
            self.execute(f"create schema {name}")

    def tables(self, schema: str = DATASET) -> dict[str, dict[str, str]]:
        """Every table of a schema with its columns and their types in dlt's words."""
        tables: dict[str, dict[str, str]] = {}
        for table, column, data_type in self.rows(
            "select table_name, column_name, data_type from information_schema.columns "
            "where table_schema = %s order by table_name, ordinal_position",
            schema,
        ):
            name = data_type.lower().partition("(")[0]
            tables.setdefault(table, {})[column] = _DLT_TYPES.get(name, name)
        return tables


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
    """A connection to a destination.

    It is not had of a pipeline: dlt would read its working folder, which a run may be writing, or
    a killed one may have left half written.

    Raises:
        WarehouseMisconfigured: If the credentials lead nowhere.
        WarehouseUnavailable: If there is none to be had now, or it fails.
        WarehouseUnwritable: If the disk is full.
    """
    try:
        client = dlt.dataset(destination, DATASET, dlt.Schema(DATASET)).sql_client
        client.open_connection()
    except Exception as error:  # each driver has errors of its own
        message = f"no connection to the warehouse: {driver_message(error)}"
        if isinstance(error, ConfigurationException):
            raise WarehouseMisconfigured(
                "the destination's credentials are not what it takes: Postgres wants "
                "postgresql://user:password@host:5432/database"
            ) from None
        if any(words in message for words in _CONFIGURATION_ERRORS):
            raise WarehouseMisconfigured(message) from None
        raise WarehouseUnavailable(message) from None
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
        raise database_failure(f"the warehouse failed: {driver_message(error)}") from error
    finally:
        client.close_connection()


def _is_database_error(error: BaseException) -> bool:
    """Whether a statement failed, be it within a step of dlt's."""
    cause: BaseException | None = error
    while cause is not None and not isinstance(cause, DatabaseException):
        cause = cause.__cause__ or cause.__context__
    return cause is not None


def database_failure(message: str) -> WarehouseError:
    """What the warehouse's words mean: a right or memory is lacking, or a failure may pass."""
    if any(words in message for words in _MEMORY_ERRORS):
        return WarehouseMisconfigured(
            f"{message}. Let DuckDB have more, for example WAREHOUSE__MEMORY_LIMIT=1GB"
        )
    if any(words in message for words in _PERMISSION_ERRORS):
        return WarehouseMisconfigured(
            f"{message}. The destination must be the primary server, as a role that owns its "
            "schemas"
        )
    return WarehouseUnavailable(message)


def load_failure(error: BaseException) -> WarehouseError:
    """Why dlt could not load, in the server's own words: a driver's may have the password."""
    from_server = re.findall(r"(?:ERROR|FATAL): +(.+)", str(error))
    from_driver = (
        driver_message(error) if "Failed to connect" not in str(error) else "no connection"
    )
    message = from_server[-1] if from_server else from_driver
    return database_failure(f"loading failed: {message}")


def is_disk_full(error: BaseException) -> bool:
    """Whether it tells of a full disk, or one that may not be written to."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        return True
    return isinstance(error, PermissionError) or any(
        words in str(error) for words in ("No space left on device", "Read-only file system")
    )


def driver_message(error: BaseException) -> str:
    """The first line of what the driver itself says; passwords are never part of it."""
    while (inner := error.__cause__ or error.__context__) is not None:
        error = inner
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
