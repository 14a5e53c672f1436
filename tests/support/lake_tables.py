"""A lake's raw tables and published runs, written from a DuckDB warehouse."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import duckdb
import pyarrow as pa
from deltalake import write_deltalake

SCHEMAS = ("kantata", "kantata_marts")
_PUBLISHED = pa.schema([
    ("run_id", pa.string()), ("table_name", pa.string()), ("version", pa.int64()),
    ("rows", pa.int64()), ("amount_by_currency", pa.string()),
    ("published_at", pa.timestamp("us", tz="UTC")),
])  # fmt: skip


def relations(connection: duckdb.DuckDBPyConnection) -> list[tuple[str, str]]:
    """The raw tables and marts of a warehouse, by schema and name; not those of dlt."""
    return connection.execute(
        "select table_schema, table_name from information_schema.tables "
        "where table_schema in ('kantata', 'kantata_marts') and table_name not like '\\_dlt%' "
        "escape '\\' order by all"
    ).fetchall()


def arrow_of(connection: duckdb.DuckDBPyConnection, schema: str, name: str) -> pa.Table:
    """All rows of a relation, without the columns of dlt."""
    columns = connection.execute(f"describe {schema}.{name}").fetchall()
    names = ", ".join(f'"{column[0]}"' for column in columns if not column[0].startswith("_dlt"))
    return connection.execute(f"select {names} from {schema}.{name}").to_arrow_table()


def write_lake(warehouse: Path, lake: Path, run_id: str) -> None:
    """Write each raw table and mart of a warehouse to a lake as a run's, and publish them."""
    published = []
    with duckdb.connect(str(warehouse), read_only=True) as connection:
        connection.execute("set timezone = 'UTC'")
        for schema, name in relations(connection):
            table = arrow_of(connection, schema, name)
            path = lake / schema / name
            write_deltalake(path, table, mode="overwrite", schema_mode="overwrite")
            published.append(
                (run_id, f"{schema}.{name}", _version(path), table.num_rows, json.dumps({}),
                 datetime.now(UTC))
            )  # fmt: skip
    columns = [pa.array(c, f.type) for c, f in zip(zip(*published), _PUBLISHED)]
    write_deltalake(
        lake / "published_runs", pa.Table.from_arrays(columns, schema=_PUBLISHED), mode="append"
    )


def _version(path: Path) -> int:
    """The last version of a Delta table."""
    from deltalake import DeltaTable

    return DeltaTable(path).version()
