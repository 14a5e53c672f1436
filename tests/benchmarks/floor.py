"""The floor: the least work that brings the tables of a first sync into a warehouse.

It fetches the same pages in turn, parses them, builds Arrow tables of the same records, and inserts
them: into a DuckDB file, or into Postgres as CSV by COPY. It has no hashes, type checks, versions,
reconciliation, marts or second copy.

Run with ``python -m tests.benchmarks.floor URL TOKEN WAREHOUSE``, a path or the URL of a database.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterator

import duckdb
import orjson
import psycopg2
import pyarrow as pa
import requests
from pyarrow import csv

from sources.kantata.settings import BATCH_ROWS, MILESTONE_INCLUDES

TABLES = ("billing_milestones", "workspaces", "stories", "invoices", "external_references")
Insert = Callable[[str, list[dict[str, object]]], None]
"""Inserts rows into a table, by its name."""
_POSTGRES_TYPES = {"int64": "bigint", "double": "double precision", "bool": "boolean"}


def floor(url: str, token: str, warehouse: str) -> float:
    """Return the seconds that the least possible work takes.

    Args:
        url: The address of the account's API.
        token: Its token.
        warehouse: A new DuckDB file, or the URL of an empty Postgres database.
    """
    began = time.perf_counter()
    if warehouse.startswith("postgresql"):
        with psycopg2.connect(warehouse) as postgres, postgres.cursor() as cursor:
            _fill(url, token, lambda table, rows: _copy(cursor, table, rows))
        postgres.close()
    else:
        with duckdb.connect(warehouse) as connection:
            _fill(url, token, lambda table, rows: _insert(connection, table, rows))
    return time.perf_counter() - began


def _fill(url: str, token: str, insert: Insert) -> None:
    """Insert the records of all tables in batches, each record once."""
    rows: dict[str, list[dict[str, object]]] = {table: [] for table in TABLES}
    seen: dict[str, set[str]] = {table: set() for table in TABLES}
    for body in pages(url, token):
        for table in TABLES:
            new = body[table].keys() - seen[table]
            seen[table] |= new
            rows[table] += [body[table][id_] for id_ in new]
            if len(rows[table]) >= BATCH_ROWS:
                insert(table, rows[table])
                rows[table] = []
    for table in TABLES:
        if rows[table]:
            insert(table, rows[table])


def pages(url: str, token: str) -> Iterator[dict[str, dict[str, dict[str, object]]]]:
    """Fetch and parse the pages of all milestones in turn."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    page, last = 1, 1
    while page <= last:
        query: dict[str, str | int] = {"order": "created_at:asc", "per_page": 200, "page": page}
        answer = session.get(
            f"{url}/billing_milestones", params={**query, "include": MILESTONE_INCLUDES}, timeout=60
        )
        body = orjson.loads(answer.content)
        last, page = body["meta"]["page_count"], page + 1
        yield body


def _insert(
    connection: duckdb.DuckDBPyConnection, table: str, rows: list[dict[str, object]]
) -> None:
    """Insert rows into a DuckDB table, which the first ones create."""
    batch = _with_texts(pa.Table.from_pylist(rows))
    connection.register("batch", batch)
    connection.execute(f"create table if not exists {table} as from batch limit 0")
    connection.execute(f"insert into {table} by name select * from batch")


def _copy(cursor: psycopg2.extensions.cursor, table: str, rows: list[dict[str, object]]) -> None:
    """Copy rows into a Postgres table, which the first ones create."""
    for row in rows:
        for name, value in row.items():
            if isinstance(value, list | dict):
                row[name] = orjson.dumps(value).decode()
    batch = _with_texts(pa.Table.from_pylist(rows))
    columns = ", ".join(
        f"{field.name} {_POSTGRES_TYPES.get(str(field.type), 'text')}" for field in batch.schema
    )
    cursor.execute(f"create table if not exists {table} ({columns})")
    lines = io.BytesIO()
    csv.write_csv(batch, lines, csv.WriteOptions(include_header=False))
    lines.seek(0)
    names = ", ".join(batch.column_names)
    cursor.copy_expert(f"copy {table} ({names}) from stdin with (format csv)", lines)


def _with_texts(batch: pa.Table) -> pa.Table:
    """Return a table with text columns instead of those that are all null."""
    for index, field in enumerate(batch.schema):
        if pa.types.is_null(field.type):
            texts = batch.column(index).cast(pa.string())
            batch = batch.set_column(index, field.name, texts)
    return batch


if __name__ == "__main__":
    print(f"{floor(*sys.argv[1:4]):.2f}")
