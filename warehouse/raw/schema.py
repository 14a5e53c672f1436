"""The tables themselves: made before the first load, so that all of them exist whatever is read."""

from __future__ import annotations

from collections.abc import Collection, Mapping

from warehouse.database import DATASET, MARTS, Database
from warehouse.errors import WarehouseMisconfigured

# What a version has of its row.
VALUES = {
    "title": "varchar",
    "workspace_id": "varchar",
    "currency": "varchar",
    "amount_in_cents": "bigint",
    "date_to_invoice": "date",
    "invoice_id": "varchar",
}
WAREHOUSE_VERSION = 3  # of the tables' shape
# What each version needs on top of the one before.
_MIGRATIONS = {
    2: (f"alter table {DATASET}.sync_runs add column access_lost bigint",),
    # They are null in versions there are already, until marts are built.
    3: tuple(
        f"alter table if exists {DATASET}.billing_milestone_versions add column {name} {kind}"
        for name, kind in VALUES.items()
    ),
}

# No index on DuckDB: with one, a disk that fills up makes it abort the whole process.
_OURS = (
    f"create table if not exists {DATASET}.warehouse_version (version bigint not null)",
    f"""create table if not exists {DATASET}.sync_runs (
        run_id text not null, status text not null, mode text not null, why text not null,
        started_at timestamptz not null, finished_at timestamptz, duration_seconds double precision,
        requests bigint, rows_read bigint, added bigint, changed bigint, deleted bigint,
        restored bigint, access_lost bigint, rejected bigint, totals text,
        side_rows text, schema_changes text, warnings text, error text, cursor_at timestamptz)""",
    # Copied from the ledger after each push.
    f"""create table if not exists {DATASET}.change_requests (
        change_id text not null, status text not null, action text not null, milestone_id text,
        workspace_id text, currency text, fields_before text, fields_after text, reason text,
        proposer text, proposed_at timestamptz, approver text, approved_digest text,
        attempts bigint, sent_at timestamptz, outcome text)""",
    f"""create table if not exists {DATASET}.change_events (
        event_number bigint not null, change_id text not null, happened_at timestamptz not null,
        status_before text, status_after text, who text, what text, request_id text,
        db_user text)""",
    # What those on call were told last, by job.
    f"create table if not exists {DATASET}.alerts (job text not null, told text not null)",
)
_HISTORY = "billing_milestone_history"
_SEARCHED = (
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


def prepare(
    database: Database, raw: Mapping[str, Mapping[str, str]], keys: Mapping[str, Collection[str]]
) -> None:
    """Make every table that is not there yet.

    Args:
        database: A connection.
        raw: The raw tables: dlt types by column, by table.
        keys: The key columns of each.

    Raises:
        WarehouseMisconfigured: If a later release has written this warehouse.
    """
    database.ensure_schema(DATASET)
    for statement in _OURS:
        database.run(statement)
    versions = database.rows(f"select version from {DATASET}.warehouse_version")
    if not versions:
        database.run(f"insert into {DATASET}.warehouse_version values (%s)", WAREHOUSE_VERSION)
    elif versions[0][0] > WAREHOUSE_VERSION:
        raise WarehouseMisconfigured(
            f"the warehouse has version {versions[0][0]} and this release knows "
            f"{WAREHOUSE_VERSION}: install the release that wrote it, or a later one"
        )
    else:
        _migrate(database, versions[0][0])
    existing = database.tables()
    for table in raw.keys() - existing.keys():
        columns = {**raw[table], "_dlt_load_id": "text"}
        listed = ", ".join(
            f"{name} {_SQL_TYPES.get(kind, kind)}{_not_null(name in keys[table])}"
            for name, kind in columns.items()
        )
        database.run(f"create table {DATASET}.{table} ({listed})")
    if database.is_postgres:
        for statement in _indexes(keys):
            database.run(statement)


def remove_orphans(database: Database) -> None:
    """Remove versions and links of milestones that have no row and never stood in a mart.

    They are of a first load that was cut off between two tables, which nobody was told of. The
    account may not show the milestone again, and then nothing would ever say what became of it.
    What a mart has shown stays, also if somebody emptied the table of rows: nobody has it twice.

    Args:
        database: A connection; the lock must be held.
    """
    has_marts = _HISTORY in database.tables(MARTS)
    for table, column in (
        ("billing_milestone_versions", "id"),
        ("billing_milestone_invoices", "billing_milestone_id"),
    ):
        tables = [f"{DATASET}.billing_milestones", *[f"{MARTS}.{_HISTORY}"] * has_marts]
        unknown = " and ".join(
            f"not exists (select 1 from {known} k where k.id = o.{column})" for known in tables
        )
        database.run(f"delete from {DATASET}.{table} o where {unknown}")


def _indexes(keys: Mapping[str, Collection[str]]) -> list[str]:
    """Each key once, and what analysts search by."""
    unique = [
        f"create unique index if not exists {table}_key on {DATASET}.{table} ({', '.join(key)})"
        for table, key in keys.items()
    ]
    more = [
        f"create index if not exists {table}_{column} on {DATASET}.{table} ({column})"
        for table, column in _SEARCHED
    ]
    return unique + more


def _migrate(database: Database, version: int) -> None:
    """Bring an older warehouse up to date, step by step, each step whole or not at all."""
    for step in range(version + 1, WAREHOUSE_VERSION + 1):
        with database.transaction():
            for statement in _MIGRATIONS[step]:
                database.run(statement)
            database.run(f"update {DATASET}.warehouse_version set version = %s", step)


def _not_null(key: bool) -> str:
    return " not null" if key else ""
