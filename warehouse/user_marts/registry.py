"""The registry of users' marts: which tables were built from which files.

A table that is not in it was made by somebody else, and is never changed or dropped.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from warehouse.database import STAGING, Database
from warehouse.models.ddl import quote

from .files import SCHEMA, UserFile

_TABLE = "user_marts"
REGISTRY = f"{STAGING}.{_TABLE}"
_DDL = f"""create table if not exists {REGISTRY} (
    name text not null, built_from text not null, built_at timestamptz not null,
    row_count bigint not null, warnings text not null)"""


@dataclass(frozen=True, kw_only=True)
class BuiltMart:
    """A row of the registry: a user's mart as it was last built.

    Args:
        name: Its name.
        built_from: The digest of what it was built from.
        built_at: When, UTC.
        row_count: Its number of rows.
        warnings: What its warning checks found, a line each.
    """

    name: str
    built_from: str
    built_at: datetime
    row_count: int
    warnings: tuple[str, ...]


def built_marts(database: Database) -> dict[str, BuiltMart]:
    """Return the registry: the users' marts that exist, by name."""
    if _TABLE not in database.tables(STAGING):
        return {}
    existing = database.tables(SCHEMA)  # somebody may have dropped one
    rows = database.rows(
        f"select name, built_from, built_at, row_count, warnings from {REGISTRY} order by name"
    )
    return {
        name: BuiltMart(
            name=name,
            built_from=built_from,
            built_at=built_at,
            row_count=row_count,
            warnings=tuple(json.loads(warnings)),
        )
        for name, built_from, built_at, row_count, warnings in rows
        if name in existing
    }


def schema_problems(database: Database) -> list[str]:
    """Return why the schema next to the registry cannot be used on Postgres, a line each."""
    ((role, may_create, exists),) = database.rows(
        "select current_user, has_database_privilege(current_database(), 'create'), "
        "(select has_schema_privilege(oid, 'create') from pg_namespace where nspname = %s)",
        SCHEMA,
    )
    if exists or (exists is None and may_create):
        return []
    verb = "create tables in" if exists is False else "create"
    return [
        f"the role {role} may not {verb} the schema {SCHEMA}: as an administrator, run the "
        f"statements for {SCHEMA} in warehouse/roles.sql, with {role} in place of milestones_loader"
    ]


def ensure_registry(database: Database) -> None:
    """Create the registry and the schema of users' marts if they do not exist."""
    if _TABLE not in database.tables(STAGING):
        database.execute(_DDL)
    database.ensure_schema(SCHEMA)


def record_built(database: Database, mart: BuiltMart) -> None:
    """Record in the registry that a mart was built; in the transaction that builds it."""
    database.execute(f"delete from {REGISTRY} where name = %s", mart.name)
    database.insert(
        f"{REGISTRY} (name, built_from, built_at, row_count, warnings)",
        [
            (
                mart.name,
                mart.built_from,
                mart.built_at,
                mart.row_count,
                json.dumps(mart.warnings),
            )
        ],
    )


def drop_mart(database: Database, name: str) -> None:
    """Drop the table of a mart whose file was removed, and its row in the registry."""
    database.execute(f"drop table if exists {table_name(name)}")
    database.execute(f"delete from {REGISTRY} where name = %s", name)


def comment_on(database: Database, file: UserFile) -> None:
    """Comment on a mart of the registry and its columns with their descriptions."""
    table = table_name(file.name)
    database.execute(f"comment on table {table} is {quote(file.model.about)}")
    for column, about in file.model.columns.items():
        database.execute(f"comment on column {table}.{identifier(column)} is {quote(about)}")


def table_name(name: str) -> str:
    """Return the table of a mart in the registry, for SQL."""
    return f"{SCHEMA}.{identifier(name)}"


def identifier(name: str) -> str:
    """Return a name of the registry as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'
