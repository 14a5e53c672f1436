"""Refreshing the rows of a mart that exists: replacing those that changed."""

from __future__ import annotations

from warehouse.database import DATASET, MARTS, STAGING, Database

from .sql_files import Model, ModelKind, staging
from .statistics import analyze

# What the history shows of a milestone's project, as it is now.
PROJECT_COLUMNS = (
    "project", "client_id", "client", "project_lead_id", "project_lead", "client_lead",
    "project_status", "project_stage", "hidden_fields",
)  # fmt: skip
_CHANGED_PROJECTS = (
    f"select workspace_id from {STAGING}.projects p full join {STAGING}.built_projects b "
    f"using (workspace_id) where row({', '.join(f'p.{name}' for name in PROJECT_COLUMNS)}) "
    f"is distinct from row({', '.join(f'b.{name}' for name in PROJECT_COLUMNS)})"
)
_IN_CHANGED = f"m.id in (select id from {STAGING}.changed)"


def fill_version_values(database: Database) -> bool:
    """Fill missing values of older versions from their records, before the marts are refreshed.

    Returns:
        Whether there were any.
    """
    versions = f"{DATASET}.billing_milestone_versions"
    without_values = "amount_in_cents is null and raw is not null"
    if not database.rows(f"select 1 from {versions} where {without_values} limit 1"):
        return False
    (received,) = (model for model in staging() if model.name == "received_versions")
    columns = [c for c in database.tables(STAGING)[received.name] if c not in received.grain]
    database.execute(
        f"update {versions} v set {', '.join(f'{column} = r.{column}' for column in columns)} "
        f"from {STAGING}.{received.name} r where r.id = v.id and r.version = v.version"
    )
    return True


def find_changed(database: Database, everything: bool) -> None:
    """Write the ids of milestones to refresh: those whose history lacks a version.

    A version never changes, so the rest of the history remains valid, except what it shows of a
    project that changed.

    Args:
        database: A connection.
        everything: Whether to write all ids, so that the whole history is rebuilt.
    """
    versions = f"{DATASET}.billing_milestone_versions"
    history = f"{MARTS}.billing_milestone_history"
    changed = f"select id from {versions} where version = 1"
    if not everything:
        changed = (
            f"select distinct id from {versions} left join {history} h using (id, version) "
            f"where h.change_type is null union select id from {history} where workspace_id in "
            f"({_CHANGED_PROJECTS})"
        )
    database.execute(f"delete from {STAGING}.changed")
    database.execute(f"insert into {STAGING}.changed {changed}")
    columns = f"workspace_id, {', '.join(PROJECT_COLUMNS)}"
    database.execute(f"delete from {STAGING}.built_projects")
    database.execute(
        f"insert into {STAGING}.built_projects ({columns}) select {columns} from {STAGING}.projects"
    )
    analyze(database, f"{STAGING}.changed")
    analyze(database, f"{STAGING}.built_projects")


def _create_table(database: Database, name: str, sql: str) -> str:
    """Create a staging table for a refresh; the caller drops it in the same transaction.

    Postgres runs the query on all cores for a new table, but on one for an insert.
    """
    table = f"{STAGING}.{name}"
    database.execute(f"create unlogged table {table} as {sql}")
    return table


def refresh_mart(database: Database, model: Model, everything: bool) -> None:
    """Refresh a mart: replace its rows by those of its query.

    Args:
        database: A connection.
        model: The mart.
        everything: Whether every row is to be written, and ``changed`` has every milestone.
    """
    if database.is_postgres:
        _refresh_on_postgres(database, model, everything)
    elif model.is_large and model.kind is ModelKind.TABLE and not everything:
        _refresh_differing_hashes(database, model)
    else:
        mart, columns = f"{MARTS}.{model.name}", ", ".join(model.columns)
        database.execute(f"delete from {mart} m where {_stale(model, everything)}")
        database.execute(
            f"insert into {mart} ({columns}) select {columns} from ({model.sql}) built"
        )


def _stale(model: Model, everything: bool) -> str:
    """Return the condition of the mart's rows that a refresh deletes if its query has no such."""
    return _IN_CHANGED if model.kind is ModelKind.CHANGED and not everything else "true"


def _refresh_differing_hashes(database: Database, model: Model) -> None:
    """Refresh only rows whose hash differs: DuckDB computes rows much faster than it writes them.

    It reads the mart's query twice, which takes less time than to write its rows for a comparison.
    Two different rows of a milestone have the same hash in one of 10^19 cases.
    """
    keys = ", ".join(model.grain)
    hashed = f"select {keys}, hash({', '.join(model.columns)}) as digest"
    database.execute(
        f"create temp table differing as select {keys} from ({hashed} from {MARTS}.{model.name}) m "
        f"full join ({hashed} from ({model.sql}) computed) b using ({keys}) "
        "where m.digest is distinct from b.digest"
    )
    _replace_rows(database, model, differing="differing", built=f"({model.sql})")
    database.execute("drop table differing")


def _refresh_on_postgres(database: Database, model: Model, everything: bool) -> None:
    """Refresh only rows that differ: Postgres keeps each replaced row until a vacuum.

    Its autovacuum updates the statistics of large marts when enough of their rows were replaced.
    """
    mart, keys, columns = (
        f"{MARTS}.{model.name}", ", ".join(model.grain), ", ".join(model.columns)
    )  # fmt: skip
    built = _create_table(database, "built", model.sql)
    if model.is_large and database.rows(f"select 1 from {mart} limit 1"):
        old = ", ".join(f"m.{name}" for name in model.columns)
        new = ", ".join(f"b.{name}" for name in model.columns)
        analyze(database, built, model.grain)
        differing = _create_table(
            database,
            "differing",
            f"select {keys} from (select * from {mart} m where {_stale(model, everything)}) m "
            f"full join {built} b using ({keys}) where row({old}) is distinct from row({new})",
        )
        analyze(database, differing, model.grain)
        _replace_rows(database, model, differing=differing, built=built)
        database.execute(f"drop table {differing}")
    else:
        database.execute(f"delete from {mart}")
        database.execute(f"insert into {mart} ({columns}) select {columns} from {built}")
        analyze(database, mart)
        _note_changed(database, model, built)
    database.execute(f"drop table {built}")


def _replace_rows(database: Database, model: Model, *, differing: str, built: str) -> None:
    """Refresh the rows of a mart whose keys a table has: delete them, and insert those built."""
    mart, keys, columns = (
        f"{MARTS}.{model.name}", ", ".join(model.grain), ", ".join(model.columns)
    )  # fmt: skip
    some = f"where ({keys}) in (select {keys} from {differing})"
    database.execute(f"delete from {mart} {some}")
    database.execute(f"insert into {mart} ({columns}) select {columns} from {built} b {some}")
    _note_changed(database, model, differing)


def _note_changed(database: Database, model: Model, table: str) -> None:
    """Add the milestones of a table to those whose rows the marts after it refresh."""
    if model.name == "billing_milestones":
        changed = f"{STAGING}.changed"
        database.execute(
            f"insert into {changed} select id from {table} except select id from {changed}"
        )
        analyze(database, changed)
