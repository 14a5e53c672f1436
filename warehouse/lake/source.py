"""Reading the warehouse for the lake: what a table holds, and its rows in bounded batches."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from decimal import Context, Decimal
from typing import Any, Protocol

import pyarrow as pa

from warehouse.database import Database

from .tables import LakeTable

# delta-rs holds some batches in memory; one of versions has a kilobyte a row.
_BATCH_ROWS, _BATCH_BYTES = 5_000, 4 * 2**20
_EXACT = Context(prec=60)


@dataclass(frozen=True, kw_only=True)
class Contents:
    """What a table holds.

    Args:
        digest: Equal for two tables with equal rows and columns.
        rows: The number of rows.
        amounts: The sums of its amounts by currency, as JSON; None if it has none.
    """

    digest: str
    rows: int
    amounts: str | None


class LakeSource(Protocol):
    """A connection to the warehouse that reads all tables as of one moment."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query of the lake's source."""

    def hashed(self, row: str) -> str:
        """Return the SQL of a number made from a whole row."""

    def selected(self, field: pa.Field) -> str:
        """Return the SQL of a column, such that its Arrow values lose nothing."""

    def batches(self, sql: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query of the lake's source."""


@contextmanager
def open_source(database: Database) -> Iterator[LakeSource]:
    """Open the source of the lake's tables on the warehouse of a connection."""
    if not database.is_postgres:
        yield _DuckDB(database)
        return
    with database.arrow_connection() as connection, closing(connection.cursor()) as cursor:
        cursor.execute("set transaction isolation level repeatable read read only")
        cursor.execute("set local timezone = 'UTC'")
        yield _Postgres(connection)


class _DuckDB:
    """Reads a DuckDB warehouse.

    Args:
        database: A connection; nobody else can write meanwhile.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        return self._database.rows(sql)

    def hashed(self, row: str) -> str:
        """Return the SQL of a number made from a whole row."""
        return f"hash({row})"

    def selected(self, field: pa.Field) -> str:
        """Return the SQL of a column: only unknown types become text."""
        name = f'"{field.name}"'
        return f"{name}::varchar as {name}" if pa.types.is_string(field.type) else name

    def batches(self, sql: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query."""
        return self._database.batches(sql, size=_BATCH_ROWS)


class _Postgres:
    """Reads a Postgres warehouse through ADBC, which streams; psycopg2 reads all rows at once.

    Args:
        connection: An ADBC connection in a transaction.
    """

    def __init__(self, connection: Any) -> None:  # noqa: ANN401 - it ships no types
        self._connection = connection

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    def hashed(self, row: str) -> str:
        """Return the SQL of a number made from a whole row."""
        return f"hashtextextended({row}::text, 0)"

    def selected(self, field: pa.Field) -> str:
        """Return the SQL of a column: decimals as text, since the driver has no type for them."""
        name = f'"{field.name}"'
        is_text = pa.types.is_decimal(field.type) or pa.types.is_string(field.type)
        return f"{name}::text as {name}" if is_text else name

    def batches(self, sql: str) -> Iterator[pa.RecordBatch]:
        """Yield the rows of a query."""
        with closing(self._connection.cursor()) as cursor:
            cursor.adbc_statement.set_options(
                **{"adbc.postgresql.batch_size_hint_bytes": str(_BATCH_BYTES)}
            )
            cursor.execute(sql)
            with closing(cursor.fetch_record_batch()) as reader:
                yield from reader


def read_contents(source: LakeSource, table: LakeTable) -> Contents:
    """Return what a table holds, without reading its rows into this process."""
    columns = ", ".join(f'"{name}"' for name in table.arrow.names)
    ((rows, total),) = source.rows(
        f"select count(*), coalesce(sum({source.hashed('t')}), 0)::text "
        f"from (select {columns} from {table.full_name}) t"
    )
    return Contents(
        digest=f"{table.shape} {rows} {total}", rows=rows, amounts=_amounts(source, table)
    )


def _amounts(source: LakeSource, table: LakeTable) -> str | None:
    """Return the sums of a table's amounts by currency, as JSON with exact numbers as text."""
    if (measure := table.measure) is None:
        return None
    kind = table.arrow.field(measure).type
    unit = Decimal(1).scaleb(-kind.scale if pa.types.is_decimal(kind) else 0)
    sums = source.rows(
        f"select currency, sum({measure})::text from {table.full_name} "
        f"where {measure} is not null and currency is not null group by currency order by currency"
    )
    return json.dumps({code: str(Decimal(s).quantize(unit, context=_EXACT)) for code, s in sums})


def read_batches(source: LakeSource, table: LakeTable) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a table with its exact types.

    Raises:
        ArrowInvalid: If a value does not fit its type; nothing is ever rounded.
    """
    columns = ", ".join(source.selected(field) for field in table.arrow)
    for batch in source.batches(f"select {columns} from {table.full_name}"):
        arrays = [
            column if column.type == field.type else column.cast(field.type)
            for column, field in zip(batch.columns, table.arrow, strict=True)
        ]
        yield pa.RecordBatch.from_arrays(arrays, schema=table.arrow)
