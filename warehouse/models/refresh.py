"""The rows of marts that are there already: those that changed, put in place of those they had."""

from __future__ import annotations

from warehouse.database import DATASET, MARTS, STAGING, Database

from .sql_files import Model, staging

IN_CHANGED = f"m.id in (select id from {STAGING}.changed)"


def fill_version_values(database: Database) -> bool:
    """Give versions that have only their record the values in it: an earlier release wrote them.

    Returns:
        Whether there were any.
    """
    versions = f"{DATASET}.billing_milestone_versions"
    lacking = "amount_in_cents is null and raw is not null"
    if not database.rows(f"select 1 from {versions} where {lacking} limit 1"):
        return False
    (received,) = (model for model in staging() if model.name == "received_versions")
    columns = [c for c in database.tables(STAGING)[received.name] if c not in received.grain]
    database.run(
        f"update {versions} v set {', '.join(f'{column} = r.{column}' for column in columns)} "
        f"from {STAGING}.{received.name} r where r.id = v.id and r.version = v.version"
    )
    return True


def find_changed(database: Database, all_of_them: bool) -> None:
    """Note which milestones have a version that their history lacks. None is ever changed.

    Args:
        database: A connection.
        all_of_them: Whether the whole history is built anew.
    """
    versions = f"{DATASET}.billing_milestone_versions"
    history = f"{MARTS}.billing_milestone_history"
    changed = f"select id from {versions} where version = 1"
    if not all_of_them:
        changed = (
            f"select distinct id from {versions} left join {history} h using (id, version) "
            "where h.change_type is null"
        )
    database.run(f"delete from {STAGING}.changed")
    database.run(f"insert into {STAGING}.changed {changed}")
    if database.is_postgres:
        database.run(f"analyze {STAGING}.changed")


def _create(database: Database, name: str, sql: str) -> str:
    """Make a table of staging, which Postgres fills on all cores; rows to insert it reads on one.

    Whoever made it drops it before the transaction ends.
    """
    table = f"{STAGING}.{name}"
    database.run(f"create unlogged table {table} as {sql}")
    database.run(f"analyze {table}")
    return table


def refresh_mart(database: Database, model: Model, stale: str) -> None:
    """Put a mart's rows in place of those it has.

    Args:
        database: A connection.
        model: The mart.
        stale: Which of the rows it has are to go, unless they are built again.
    """
    mart, columns = f"{MARTS}.{model.name}", ", ".join(model.columns)
    if not database.is_postgres:
        database.run(f"delete from {mart} m where {stale}")
        database.run(f"insert into {mart} ({columns}) select {columns} from ({model.sql}) built")
        return
    built = _create(database, "built", model.sql)
    if model.is_large:
        _write_changed(database, model, stale, built)
    else:
        database.run(f"delete from {mart}")
        database.run(f"insert into {mart} ({columns}) select {columns} from {built}")
    database.run(f"drop table {built}")


def _write_changed(database: Database, model: Model, stale: str, built: str) -> None:
    """Write only the rows that differ: Postgres keeps each row it replaces until a vacuum."""
    mart, keys, columns = (
        f"{MARTS}.{model.name}", ", ".join(model.grain), ", ".join(model.columns)
    )  # fmt: skip
    held, wanted = (", ".join(f"{of}.{name}" for name in model.columns) for of in ("m", "b"))
    differing = _create(
        database,
        "differing",
        f"select {keys} from (select * from {mart} m where {stale}) m "
        f"full join {built} b using ({keys}) where row({held}) is distinct from row({wanted})",
    )
    some = f"where ({keys}) in (select {keys} from {differing})"
    database.run(f"delete from {mart} {some}")
    database.run(f"insert into {mart} ({columns}) select {columns} from {built} {some}")
    database.run(f"drop table {differing}")
