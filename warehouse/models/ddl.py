"""Creating the relations of the SQL files in the database: staging views, marts, indexes.

A mart is never dropped, since grants and dashboards depend on it: new columns are appended.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from warehouse.database import MARTS, STAGING, Database

from .refresh import PROJECT_COLUMNS
from .sql_files import Model, ModelKind, marts, staging

_TODAY_COLUMNS = {
    "as_of": "date not null",
    "reporting_timezone": "text not null",
    "run_id": "text not null",
    "models": "text not null",
    "warnings": "text not null",
    "milestones": "bigint",
    "out_of_reach": "bigint",
    "rejected_records": "bigint",
    "reporting_currency": "text",
    "rates": "text",
    "missing_rates": "text",
}
_RATES_COLUMNS = {  # in the order of reporting_rates.NeededRate
    "currency": "text not null",
    "day": "date not null",
    "rate": "decimal(20, 10) not null",
    "rate_date": "date not null",
    "rate_source": "text not null",
}
_CALENDAR_COLUMNS = {  # in the order of calendar.Period
    "period": "text not null",
    "first_day": "date not null",
    "starts_at": "timestamptz not null",
    "ends_at": "timestamptz not null",
}
_TABLES = {
    "today": _TODAY_COLUMNS,
    "calendar": _CALENDAR_COLUMNS,
    "changed": {"id": "text not null"},
    "rates": _RATES_COLUMNS,
    "built_projects": {"workspace_id": "text not null", **dict.fromkeys(PROJECT_COLUMNS, "text")},
}
_FORMER_VIEWS = ("changed_versions",)  # views of earlier releases


def has_all_relations(database: Database) -> bool:
    """Return whether all staging relations and marts exist with the columns of their DDL."""
    return _has_relations(
        database.tables(STAGING), _TABLES | {model.name: () for model in staging()}
    ) and _has_relations(database.tables(MARTS), {model.name: model.columns for model in marts()})


def _has_relations(
    existing: Mapping[str, Collection[str]], required: Mapping[str, Collection[str]]
) -> bool:
    """Return whether every relation that the DDL creates exists with the required columns."""
    return all(
        name in existing and set(existing[name]) >= set(columns)
        for name, columns in required.items()
    )


def define_staging(database: Database) -> None:
    """Create or replace the staging tables and views by DDL; call it in a transaction.

    Views that read a mart come after it: see ``define_staging_on``.
    """
    for schema in (STAGING, MARTS):
        database.ensure_schema(schema)
    for name, columns in _TABLES.items():
        listed = ", ".join(f"{column} {kind}" for column, kind in columns.items())
        database.execute(f"create table if not exists {STAGING}.{name} ({listed})")
    existing = database.tables(STAGING)
    for name, columns in _TABLES.items():
        for column in columns.keys() - existing[name].keys():
            database.execute(f"alter table {STAGING}.{name} add column {column} {columns[column]}")
    for name in _FORMER_VIEWS:
        database.execute(f"drop view if exists {STAGING}.{name}")
    for model in staging():
        if f"{MARTS}." not in model.sql:
            _define_view(database, model)


def define_staging_on(database: Database, mart: Model) -> None:
    """Create or replace by DDL the staging views that read this mart, which must exist."""
    for model in staging():
        if f"{MARTS}.{mart.name} " in model.sql:
            _define_view(database, model)


def define_mart(database: Database, model: Model, columns: Collection[str]) -> None:
    """Create a mart by DDL with its rows, or append missing columns; it keeps the rows it has.

    Args:
        database: A connection.
        model: The mart.
        columns: The columns it has; empty if it does not exist.
    """
    if model.kind is ModelKind.VIEW:
        database.execute(f"create or replace view {MARTS}.{model.name} as {model.sql}")
    elif not columns:
        database.execute(f"create table {MARTS}.{model.name} as {model.sql}")
    elif missing := [column for column in model.columns if column not in columns]:
        types = _query_types(database, model)
        for column in missing:
            database.execute(
                f"alter table {MARTS}.{model.name} add column {column} {types[column]}"
            )
    _comment_on(database, model)


def ensure_indexes(database: Database, model: Model) -> None:
    """Create a mart's missing indexes by DDL; doing it after its rows takes a fifth of the time.

    It does not use ``if not exists``, which cancels an autovacuum of the table even if the index
    exists.
    """
    existing = database.rows("select indexname from pg_indexes where schemaname = %s", MARTS)
    for number, columns in enumerate((", ".join(model.grain), *model.indexes)):
        name, unique = f"{model.name}_{number}", "" if number else "unique "
        if (name,) not in existing:
            database.execute(f"create {unique}index {name} on {MARTS}.{model.name} ({columns})")


def _define_view(database: Database, model: Model) -> None:
    """Create or replace a staging view by DDL.

    Postgres replaces a view only if columns were appended. Otherwise it is dropped first, which
    fails if somebody's view depends on it; readers are granted the marts only.
    """
    name = f"{STAGING}.{model.name}"
    if database.is_postgres:
        existing = list(_existing_types(database, STAGING, model.name).items())
        if existing != list(_query_types(database, model).items())[: len(existing)]:
            database.execute(f"drop view {name}")
    database.execute(f"create or replace view {name} as {model.sql}")


def _query_types(database: Database, model: Model) -> dict[str, str]:
    """Return the columns of a model's query with their types, for its DDL.

    It uses a view, which needs no further privilege; a temporary table would.
    """
    database.execute(f"create view {STAGING}.shape as {model.sql}")
    types = _existing_types(database, STAGING, "shape")
    database.execute(f"drop view {STAGING}.shape")
    return types


def _existing_types(database: Database, schema: str, name: str) -> dict[str, str]:
    """Return a relation's columns and types, in order, for its DDL; none if it does not exist."""
    return dict(
        database.rows(
            "select column_name, data_type from information_schema.columns "
            "where table_schema = %s and table_name = %s order by ordinal_position",
            schema,
            name,
        )
    )


def _comment_on(database: Database, model: Model) -> None:
    """Run the DDL that comments on a mart and its columns with their descriptions."""
    kind = "view" if model.kind is ModelKind.VIEW else "table"
    database.execute(f"comment on {kind} {MARTS}.{model.name} is {quote(model.about)}")
    for column, about in model.columns.items():
        database.execute(f"comment on column {MARTS}.{model.name}.{column} is {quote(about)}")


def quote(text: str) -> str:
    """Return a text as a SQL literal for DDL."""
    return "'" + text.replace("'", "''") + "'"
