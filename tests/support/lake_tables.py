"""A lake as the connector leaves it after a run, written from a DuckDB warehouse."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, write_deltalake

_BATCH = 100_000
_PUBLISHED = pa.schema([
    ("run_id", pa.string()), ("table_name", pa.string()), ("version", pa.int64()),
    ("rows", pa.int64()), ("amount_by_currency", pa.string()),
    ("published_at", pa.timestamp("us", tz="UTC")),
])  # fmt: skip


def relations(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """The raw tables and marts of a warehouse, by schema and name; not those of dlt."""
    return connection.execute(
        "select table_schema, table_name from information_schema.tables where table_schema in "
        "('kantata', 'kantata_marts') and not starts_with(table_name, '_dlt') order by all"
    ).fetchall()


def arrow_of(connection: duckdb.DuckDBPyConnection, schema: str, name: str) -> pa.Table:
    """All rows of a relation, without the columns of dlt."""
    return _selected(connection, schema, name).to_arrow_table()


def _selected(
    connection: duckdb.DuckDBPyConnection, schema: str, name: str
) -> duckdb.DuckDBPyConnection:
    """The query of a relation's rows, without the columns of dlt."""
    columns = connection.execute(f"describe {schema}.{name}").fetchall()
    names = ", ".join(f'"{column[0]}"' for column in columns if not column[0].startswith("_dlt"))
    return connection.execute(f"select {names} from {schema}.{name}")


def open_warehouse(path: Path) -> duckdb.DuckDBPyConnection:
    """A connection that reads a warehouse, with times in UTC."""
    connection = duckdb.connect(str(path), read_only=True)
    connection.execute("set timezone = 'UTC'")
    return connection


def write_lake(connection: duckdb.DuckDBPyConnection, lake: Path) -> str:
    """Write all raw tables and marts to a lake, and publish their versions as those of a run."""
    ((run_id,),) = connection.execute("select run_id from kantata_stg.today").fetchall()
    rows = [
        (run_id, *_written(connection, lake, *each), datetime.now(UTC))
        for each in relations(connection)
    ]
    columns = zip(*rows, strict=True)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, _PUBLISHED, strict=True)]
    table = pa.Table.from_arrays(arrays, schema=_PUBLISHED)
    write_deltalake(lake / "published_runs", table, mode="append")
    return str(run_id)


def _written(
    connection: duckdb.DuckDBPyConnection, lake: Path, schema: str, name: str
) -> tuple[Any, ...]:
    """A table's name, version, rows and sums, once it is written."""
    path = lake / schema / name
    with _selected(connection, schema, name).to_arrow_reader(_BATCH) as reader:
        columns = reader.schema.names
        write_deltalake(path, reader, mode="overwrite", schema_mode="overwrite")
    ((rows,),) = connection.execute(f"select count(*) from {schema}.{name}").fetchall()
    measure = next((each for each in ("amount", "amount_in_cents") if each in columns), None)
    sums = None
    if measure and "currency" in columns:
        found = connection.execute(
            f"select currency, sum({measure})::text from {schema}.{name} "
            f"where currency is not null and {measure} is not null group by 1"
        )
        sums = json.dumps(dict(found.fetchall()))
    return f"{schema}.{name}", DeltaTable(path).version(), rows, sums
