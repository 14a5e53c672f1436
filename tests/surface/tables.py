"""The tables of a warehouse and a ledger, as the database itself describes them."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import psycopg2

Query = Callable[[str], list[tuple[Any, ...]]]

_OURS = "('kantata', 'kantata_stg', 'kantata_marts', 'kantata_ledger')"
_TABLES = (
    "select table_schema, table_name, table_type from information_schema.tables "
    f"where table_schema in {_OURS} order by 1, 2"
)
_COLUMNS = (
    "select table_schema, table_name, column_name, data_type, is_nullable "
    f"from information_schema.columns where table_schema in {_OURS} "
    "order by table_schema, table_name, ordinal_position"
)
_ON_POSTGRES = {
    "indexes": "select schemaname || '.' || indexname, indexdef from pg_indexes "
    f"where schemaname in {_OURS} order by 1",
    "constraints": "select n.nspname || '.' || conname, pg_get_constraintdef(c.oid) "
    "from pg_constraint c join pg_namespace n on n.oid = connamespace "
    f"where nspname in {_OURS} and contype <> 'n' order by 1",
    "triggers": "select tgname, pg_get_triggerdef(t.oid) from pg_trigger t join pg_class c "
    "on c.oid = tgrelid join pg_namespace n on n.oid = relnamespace "
    f"where nspname in {_OURS} and not tgisinternal order by 1",
    "functions": "select n.nspname || '.' || proname, prosrc from pg_proc p join pg_namespace n "
    f"on n.oid = pronamespace where nspname in {_OURS} order by 1",
}


@contextmanager
def duckdb_file(path: Path) -> Iterator[Query]:
    """Open a DuckDB file for queries."""
    with closing(duckdb.connect(str(path), read_only=True)) as connection:
        yield lambda sql: list(connection.execute(sql).fetchall())


@contextmanager
def postgres(url: str) -> Iterator[Query]:
    """Open a Postgres database for queries."""

    def rows(sql: str) -> list[tuple[Any, ...]]:
        cursor.execute(sql)
        return list(cursor.fetchall())

    with closing(psycopg2.connect(url)) as connection, closing(connection.cursor()) as cursor:
        yield rows


def warehouse_tables(query: Query) -> dict[str, object]:
    """Every table and view of our schemas, with its kind and its columns in order."""
    found: dict[str, dict[str, Any]] = {
        f"{schema}.{table}": {"kind": kind, "columns": []} for schema, table, kind in query(_TABLES)
    }
    for schema, table, column, data_type, nullable in query(_COLUMNS):
        null = "" if nullable == "YES" else " not null"
        found[f"{schema}.{table}"]["columns"].append(f"{column} {data_type.lower()}{null}")
    return dict(found)


def postgres_objects(query: Query) -> dict[str, object]:
    """Indexes, constraints, triggers and functions of our schemas."""
    return {kind: dict(query(sql)) for kind, sql in _ON_POSTGRES.items()}


def sqlite_statements(path: Path) -> dict[str, str]:
    """The statement of each table, index and trigger of a ledger's file."""
    with closing(sqlite3.connect(path)) as connection:
        rows = connection.execute("select type, name, sql from sqlite_master where sql is not null")
        return {f"{kind} {name}": " ".join(sql.split()) for kind, name, sql in sorted(rows)}


def contents(query: Query, columns: dict[str, list[str]]) -> dict[str, list[str]]:
    """The rows of relations as text, sorted; the same for equal values on each database.

    Args:
        query: The database.
        columns: The columns to select, by relation.
    """
    return {
        relation: sorted(
            repr([_plain(value) for value in row])
            for row in query(f"select {', '.join(names)} from {relation}")
        )
        for relation, names in columns.items()
    }


def _plain(value: object) -> object:
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat()
    return value if value is None or isinstance(value, (bool, int, float)) else str(value)
