"""The raw tables: created before the first load, so that all exist, and migrated."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from warehouse import lineage
from warehouse.database import DATASET, MARTS, Database
from warehouse.errors import WarehouseMisconfigured

from . import account_binding, exchange_rates, invoice_payments, lake_copies, period_closes

WAREHOUSE_VERSION = 8  # version of the tables
_VERSIONS = "billing_milestone_versions"


@dataclass(frozen=True)
class RawTable:
    """The declaration of a raw table.

    Args:
        columns: The dlt type of each column, by name.
        key: The columns that identify a row.
    """

    columns: Mapping[str, str]
    key: Collection[str]


RawTables = Mapping[str, RawTable]  # by name
# No index on DuckDB: with one, it aborts the whole process when the disk is full.
_OWN_TABLES = (
    f"create table if not exists {DATASET}.warehouse_version (version bigint not null)",
    f"""create table if not exists {DATASET}.sync_runs (
        run_id text not null, status text not null, mode text not null, why text not null,
        started_at timestamptz not null, finished_at timestamptz, duration_seconds double precision,
        requests bigint, rows_read bigint, added bigint, changed bigint, deleted bigint,
        restored bigint, access_lost bigint, rejected bigint, totals text,
        side_rows text, schema_changes text, warnings text, error text, cursor_at timestamptz,
        project_details_read_at timestamptz, observed_until timestamptz,
        exchange_rates_read_at timestamptz)""",
    # The copy of the ledger, replaced after each push.
    f"""create table if not exists {DATASET}.change_requests (
        change_id text not null, status text not null, action text not null, milestone_id text,
        workspace_id text, currency text, fields_before text, fields_after text, reason text,
        proposer text, proposed_at timestamptz, approver text, approved_digest text,
        attempts bigint, sent_at timestamptz, outcome text, duplicate boolean, twins text,
        seen_updated_at text, looked_at timestamptz, resends bigint)""",
    f"""create table if not exists {DATASET}.change_events (
        event_number bigint not null, change_id text not null, happened_at timestamptz not null,
        status_before text, status_after text, who text, what text, request_id text,
        db_user text, draft_digest text, chain_hash text, identified_by text)""",
    # The alert state, by job.
    f"create table if not exists {DATASET}.alerts (job text not null, told text not null)",
    account_binding.DDL,
    invoice_payments.DDL,
    exchange_rates.DDL,
    lineage.DDL,
    lake_copies.DDL,
    *period_closes.DDL,
)
_HISTORY = "billing_milestone_history"
_INDEXED_COLUMNS = (
    ("billing_milestones", "workspace_id"),
    ("billing_milestones", "invoice_id"),
    ("billing_milestone_invoices", "invoice_id"),
)
_SQL_TYPES = {
    "text": "varchar",
    "bool": "boolean",
    "double": "double precision",
    "timestamp": "timestamptz",
    "decimal": "decimal(12,6)",
}


def prepare_raw_tables(database: Database, declared: RawTables) -> None:
    """Create the missing tables of the raw schema, and migrate those of an older release.

    Args:
        database: A connection.
        declared: The raw tables that dlt loads, by name.

    Raises:
        WarehouseMisconfigured: If a later release has written this warehouse.
    """
    database.ensure_schema(DATASET)
    for statement in _OWN_TABLES:
        database.execute(statement)
    _bring_up_to_date(database, declared)
    existing = database.tables()
    for name in declared.keys() - existing.keys():
        _create_raw_table(database, name, declared[name])
    if database.is_postgres:
        for statement in _index_statements(declared):
            database.execute(statement)


def _create_raw_table(database: Database, name: str, table: RawTable) -> None:
    """Create a table of the raw schema as it is declared."""
    columns = {**table.columns, "_dlt_load_id": "text"}
    listed = ", ".join(
        f"{column} {_sql_type(kind)}{' not null' if column in table.key else ''}"
        for column, kind in columns.items()
    )
    database.execute(f"create table {DATASET}.{name} ({listed})")


def _sql_type(dlt_type: str) -> str:
    """Return the SQL type for a dlt type in the raw schema."""
    return _SQL_TYPES.get(dlt_type, dlt_type)


def _index_statements(declared: RawTables) -> list[str]:
    """Return the statements for the raw schema's indexes: unique on keys, others for analysts."""
    unique = [
        f"create unique index if not exists {name}_key on {DATASET}.{name} ({', '.join(table.key)})"
        for name, table in declared.items()
    ]
    others = [
        f"create index if not exists {name}_{column} on {DATASET}.{name} ({column})"
        for name, column in _INDEXED_COLUMNS
    ]
    # So that it takes no time to find that no version has another minor unit than its currency.
    few = (
        f"create index if not exists {_VERSIONS}_minor_unit on {DATASET}.{_VERSIONS} (id) "
        "where minor_unit is not null"
    )
    return [*unique, *others, few]


def _bring_up_to_date(database: Database, declared: RawTables) -> None:
    """Migrate the raw schema of an older warehouse, each step in one transaction."""
    versions = database.rows(f"select version from {DATASET}.warehouse_version")
    if not versions:
        database.execute(f"insert into {DATASET}.warehouse_version values (%s)", WAREHOUSE_VERSION)
        return
    version = versions[0][0]
    if version > WAREHOUSE_VERSION:
        raise WarehouseMisconfigured(
            f"the warehouse has version {version}, and this release supports "
            f"{WAREHOUSE_VERSION}: install the release that wrote it, or a later one"
        )
    for step in range(version + 1, WAREHOUSE_VERSION + 1):
        with database.transaction():
            _MIGRATIONS[step](database, declared)
            database.execute(f"update {DATASET}.warehouse_version set version = %s", step)


def _migrate_to_2(database: Database, _declared: RawTables) -> None:
    """Add the number of milestones with access lost to runs in the raw schema."""
    database.execute(f"alter table {DATASET}.sync_runs add column access_lost bigint")


def _add_version_columns(database: Database, declared: RawTables) -> None:
    """Add the columns that versions in the raw schema lack."""
    existing = database.tables().get(_VERSIONS, {})
    for column, kind in declared[_VERSIONS].columns.items():
        if existing and column not in existing:
            database.execute(
                f"alter table {DATASET}.{_VERSIONS} add column {column} {_sql_type(kind)}"
            )


def _add_reading_of_details(database: Database, _declared: RawTables) -> None:
    """Add to runs in the raw schema when the clients and leads of all projects were read."""
    _add_time_to_runs(database, "project_details_read_at")


def _add_times_of_reading(database: Database, _declared: RawTables) -> None:
    """Add to runs in the raw schema when their observations ended, and when rates were read."""
    _add_time_to_runs(database, "observed_until")
    _add_time_to_runs(database, "exchange_rates_read_at")


def _add_time_to_runs(database: Database, column: str) -> None:
    """Add a time to runs in the raw schema, if they lack it."""
    if column not in database.tables()["sync_runs"]:
        database.execute(f"alter table {DATASET}.sync_runs add column {column} timestamptz")


def _complete_ledger_copy(database: Database, _declared: RawTables) -> None:
    """Add the columns in the raw schema from which a lost ledger is restored."""
    added = {
        "change_requests": (
            "duplicate boolean", "twins text", "seen_updated_at text", "looked_at timestamptz",
            "resends bigint",
        ),
        "change_events": ("draft_digest text", "chain_hash text", "identified_by text"),
    }  # fmt: skip
    existing = database.tables()
    for table, columns in added.items():
        for column in columns:
            if column.partition(" ")[0] not in existing[table]:  # it may have just been created
                database.execute(f"alter table {DATASET}.{table} add column {column}")


_MIGRATIONS: Mapping[int, Callable[[Database, RawTables], None]] = {
    2: _migrate_to_2,
    3: _add_version_columns,  # of values; fill_version_values fills older ones
    4: _add_version_columns,  # of the minor unit; null means that of the currency
    5: _complete_ledger_copy,
    6: _add_reading_of_details,
    7: _complete_ledger_copy,  # with how people were identified
    8: _add_times_of_reading,
}


def remove_orphans(database: Database) -> None:
    """Delete versions and links in the raw schema whose milestone has no row and was in no mart.

    A first load that was interrupted between two tables leaves them. Nobody has seen them, and if
    the milestone is deleted in the account meanwhile, no later run would correct them. Versions
    that a mart has shown remain, even if somebody emptied ``billing_milestones``: there is no other
    copy of them.

    Args:
        database: A connection; the caller must hold the lock.
    """
    has_marts = _HISTORY in database.tables(MARTS)
    for table, column in (
        (_VERSIONS, "id"),
        ("billing_milestone_invoices", "billing_milestone_id"),
    ):
        tables = [f"{DATASET}.billing_milestones", *[f"{MARTS}.{_HISTORY}"] * has_marts]
        unknown = " and ".join(
            f"not exists (select 1 from {known} k where k.id = o.{column})" for known in tables
        )
        database.execute(f"delete from {DATASET}.{table} o where {unknown}")
