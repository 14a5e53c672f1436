"""Marts for people: built from the raw tables by the SQL files beside this one, in one transaction.

A file is one relation, and its comment is its documentation: what a row is, then ``grain:``,
``index:``, ``kind:`` or ``severity:``, then each column. The marts show the last state that was
proven; if a blocking check finds something wrong they stay as they were.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from graphlib import TopologicalSorter
from importlib.resources import files
from typing import Any

from .database import DATASET, Database
from .errors import WarehouseChecksFailed

STAGING, MARTS = f"{DATASET}_stg", f"{DATASET}_marts"
SHOWN = 10  # rows a finding shows
_OPTION = re.compile(r"(grain|index|kind|severity): (.+)")
_COLUMN = re.compile(r"([a-z_0-9]+): (.+)")


class Severity(StrEnum):
    """What a finding means."""

    BLOCKING = "blocking"  # figures are wrong: the marts stay as they were
    WARNING = "warning"  # a person should look at it


@dataclass(frozen=True)
class Model:
    """One SQL file.

    Args:
        name: Of the relation, or of the check.
        about: What a row is, or what must hold.
        columns: What each column means; none are told of staging and checks.
        grain: The columns that identify a row; none if there is one row only.
        indexes: Columns to search by, on Postgres.
        kind: Of a mart: a table built anew; a ``view``, since it changes with every run; or a
            ``history``, of which only the milestones in ``changed`` are built anew.
        severity: Of a check.
        sql: The query.
    """

    name: str
    about: str
    columns: dict[str, str]
    grain: tuple[str, ...]
    indexes: tuple[str, ...]
    kind: str
    severity: Severity
    sql: str


@dataclass(frozen=True)
class Day:
    """What the marts are built for.

    Args:
        run_id: The run whose state they show.
        as_of: What they call today.
        timezone: ``reporting_timezone``.
    """

    run_id: str
    as_of: date
    timezone: str


@dataclass(frozen=True)
class Finding:
    """What a check found wrong.

    Args:
        check: Its name.
        severity: What that means.
        about: What should hold.
        count: How many rows are wrong.
        rows: The first of them, as text, by column.
    """

    check: str
    severity: Severity
    about: str
    count: int
    rows: tuple[dict[str, str], ...]

    def __str__(self) -> str:
        """One line."""
        first = ", ".join(f"{name} {value}" for name, value in self.rows[0].items())
        return f"check {self.check} finds {self.count} wrong ({first}): {self.about}"


@cache
def staging() -> tuple[Model, ...]:
    """The views between the raw tables and the marts."""
    return _models("staging")


@cache
def marts() -> tuple[Model, ...]:
    """The marts, each after those it is built from."""
    models = {model.name: model for model in _models("marts")}
    needs = {name: re.findall(rf"{MARTS}\.(\w+)", model.sql) for name, model in models.items()}
    return tuple(models[name] for name in TopologicalSorter(needs).static_order())


@cache
def checks() -> tuple[Model, ...]:
    """The checks; first that each relation has each row once."""
    grains = (
        Model(
            name=f"grain_of_{model.name}",
            about=f"{schema}.{model.name} has one row for each {', '.join(model.grain)}.",
            columns={},
            grain=(),
            indexes=(),
            kind="",
            severity=Severity.BLOCKING,
            sql=f"select {', '.join(model.grain)}, count(*) as copies from {schema}.{model.name} "
            f"group by {', '.join(model.grain)} having count(*) > 1",
        )
        for schema, models in ((STAGING, staging()), (MARTS, marts()))
        for model in models
        if model.grain
    )
    return (*grains, *_models("checks"))


def refresh(database: Database, day: Day, always: bool = False) -> list[str]:
    """Build the marts anew, if anything changed since they were built.

    Args:
        database: A connection; the lock must be held.
        day: What they are built for.
        always: Build them also if nothing changed.

    Returns:
        Warnings, in words.

    Raises:
        WarehouseChecksFailed: If a blocking check found something; the marts stay as they were.
    """
    built = _built(database)
    if not always and built and built["day"] == day_key(day) and not _changed(database, built, day):
        return list(json.loads(built["warnings"]))
    if not database.is_postgres:
        database.run("set memory_limit = '1GB'")  # of this connection: loading needs less
        database.run("reset threads")
    with database.transaction():
        if database.is_postgres:
            database.run("set local work_mem = '128MB'")  # else it sorts millions of rows on disk
        if built is None or built["models"] != _digest():
            _define(database)
        database.run(f"delete from {STAGING}.today")
        database.run(
            f"insert into {STAGING}.today values (%s, %s, %s, %s, '[]')",
            day.as_of, day.timezone, day.run_id, _digest(),
        )  # fmt: skip
        _find_changed(database, all_of_them=always or _amounts_changed(database, built))
        for model in marts():
            if model.kind != "view":
                _fill(database, model)
        findings = find(database)
        if wrong := [str(f) for f in findings if f.severity is Severity.BLOCKING]:
            raise WarehouseChecksFailed(
                "the marts stay as they were, nothing is published. " + "; ".join(wrong)
            )
        warnings = [str(finding) for finding in findings]
        database.run(f"update {STAGING}.today set warnings = %s", json.dumps(warnings))
    return warnings


def find(database: Database) -> list[Finding]:
    """Run every check.

    Args:
        database: A connection to a warehouse whose marts are built.

    Returns:
        What is wrong; nothing if all holds.
    """
    found = []
    for check in checks():
        count = database.rows(f"select count(*) from ({check.sql}) wrong")[0][0]
        if count:
            shown = database.named(f"select * from ({check.sql}) wrong limit {SHOWN}")
            rows = tuple({name: str(value) for name, value in row.items()} for row in shown)
            found.append(Finding(check.name, check.severity, check.about, count, rows))
    return found


def are_built(database: Database) -> bool:
    """Whether there are marts."""
    return _built(database) is not None


def day_key(day: Day) -> tuple[date, str]:
    """What of a day changes figures though no record changed."""
    return day.as_of, day.timezone


def dictionary() -> str:
    """Every mart and its columns, in Markdown."""
    parts = []
    for model in sorted(marts(), key=lambda model: model.name):
        rows = "\n".join(f"| `{name}` | {about} |" for name, about in model.columns.items())
        parts.append(f"### {model.name}\n\n{model.about}\n\n| column | |\n|---|---|\n{rows}\n")
    return "\n".join(parts)


def _built(database: Database) -> dict[str, Any] | None:
    """What the marts were built for and with; None if there are none."""
    if "today" not in database.tables(STAGING):
        return None
    rows = database.rows(
        f"select as_of, reporting_timezone, run_id, models, warnings from {STAGING}.today"
    )
    if not rows:
        return None
    as_of, timezone, run_id, models, warnings = rows[0]
    return {"day": (as_of, timezone), "run_id": run_id, "models": models, "warnings": warnings}


def _changed(database: Database, built: dict[str, Any], day: Day) -> bool:
    """Whether a run since then changed a row, or was cut off while it may have done so."""
    runs = database.rows(
        f"select count(*) from {DATASET}.sync_runs where run_id > %s and (side_rows <> '{{}}' "
        "or added + changed + deleted + restored + access_lost > 0 "
        "or (status <> 'proven' and run_id <> %s))",
        built["run_id"],
        day.run_id,
    )
    return built["models"] != _digest() or bool(runs[0][0])


def _amounts_changed(database: Database, built: dict[str, Any] | None) -> bool:
    """Whether the whole history is to be built anew: other SQL, or another unit of a currency."""
    if built is None or built["models"] != _digest():
        return True
    return bool(
        database.rows(
            f"select count(*) from {DATASET}.sync_runs where run_id > %s and side_rows like %s",
            built["run_id"],
            '%"currencies"%',
        )[0][0]
    )


def _find_changed(database: Database, all_of_them: bool) -> None:
    """Note which milestones have a version that their history lacks. Versions never change."""
    database.run(f"delete from {STAGING}.changed")
    lacking = (
        f"v left join {MARTS}.billing_milestone_history h using (id, version) "
        "where h.change_type is null"
    )
    if all_of_them:
        database.run(f"delete from {MARTS}.billing_milestone_history")
    database.run(
        f"insert into {STAGING}.changed select distinct id "
        f"from {DATASET}.billing_milestone_versions {lacking}"
    )
    if database.is_postgres:
        database.run(f"analyze {STAGING}.changed")


def _fill(database: Database, model: Model) -> None:
    """Put a mart's rows in place of those it has."""
    columns = ", ".join(model.columns)
    stale = f" where id in (select id from {STAGING}.changed)" if model.kind == "history" else ""
    database.run(f"delete from {MARTS}.{model.name}{stale}")
    database.run(
        f"insert into {MARTS}.{model.name} ({columns}) select {columns} from ({model.sql}) built"
    )
    if database.is_postgres:
        database.run(f"analyze {MARTS}.{model.name}")


def _define(database: Database) -> None:
    """Make what is not there yet. A mart is never dropped: grants and dashboards hang on it."""
    for schema in (STAGING, MARTS):
        database.ensure_schema(schema)
    database.run(
        f"create table if not exists {STAGING}.today (as_of date not null, reporting_timezone "
        "text not null, run_id text not null, models text not null, warnings text not null)"
    )
    database.run(f"create table if not exists {STAGING}.changed (id text not null)")
    for model in staging():
        database.run(f"drop view if exists {STAGING}.{model.name}")
        # Postgres reads a field of jsonb twice as fast; DuckDB knows json alone.
        sql = model.sql.replace("::json ", "::jsonb ") if database.is_postgres else model.sql
        database.run(f"create view {STAGING}.{model.name} as {sql}")
    existing = database.tables(MARTS)
    for model in marts():
        if model.kind == "view":
            database.run(f"create or replace view {MARTS}.{model.name} as {model.sql}")
        else:
            _table(database, model, existing.get(model.name, {}))
        _describe(database, model)


def _table(database: Database, model: Model, existing: Iterable[str]) -> None:
    """Make a mart's table, or append the columns it lacks."""
    if not existing:
        database.run(f"create table {MARTS}.{model.name} as {model.sql} with no data")
    elif lacking := [column for column in model.columns if column not in existing]:
        database.run(f"create temporary table shape as {model.sql} with no data")
        types = database.rows(
            "select column_name, data_type, numeric_precision, numeric_scale "
            "from information_schema.columns where table_name = 'shape'"
        )
        kinds = {name: kind for name, kind, *_ in types}
        for column in lacking:
            database.run(f"alter table {MARTS}.{model.name} add column {column} {kinds[column]}")
        database.run("drop table shape")
    if database.is_postgres:
        for number, columns in enumerate((", ".join(model.grain), *model.indexes)):
            unique = "" if number else "unique "
            database.run(
                f"create {unique}index if not exists {model.name}_{number} "
                f"on {MARTS}.{model.name} ({columns})"
            )


def _describe(database: Database, model: Model) -> None:
    kind = "view" if model.kind == "view" else "table"
    database.run(f"comment on {kind} {MARTS}.{model.name} is {_quoted(model.about)}")
    for column, about in model.columns.items():
        database.run(f"comment on column {MARTS}.{model.name}.{column} is {_quoted(about)}")


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


@cache
def _digest() -> str:
    """Of all SQL: a release that changed some builds all anew."""
    texts = [f"{m.name}\0{m.sql}\0{m.columns}" for m in (*staging(), *marts(), *checks())]
    return hashlib.blake2b("\0".join(texts).encode(), digest_size=16).hexdigest()


def _models(folder: str) -> tuple[Model, ...]:
    found = sorted(files(__package__).joinpath(folder).iterdir(), key=lambda file: file.name)
    return tuple(
        _model(file.name.removesuffix(".sql"), file.read_text(encoding="utf-8"))
        for file in found
        if file.name.endswith(".sql")
    )


def _model(name: str, text: str) -> Model:
    """Read one file."""
    lines = text.splitlines()
    head = [line.removeprefix("--").strip() for line in lines if line.startswith("--")]
    sql = "\n".join(line for line in lines if not line.startswith("--")).strip()
    about: list[str] = []
    options: dict[str, list[str]] = {}
    columns: dict[str, str] = {}
    for line in filter(None, head):
        if found := _OPTION.fullmatch(line):
            options.setdefault(found[1], []).append(found[2])
        elif options and (found := _COLUMN.fullmatch(line)):
            columns[found[1]] = found[2]
        else:
            about.append(line)
    return Model(
        name=name,
        about=" ".join(about),
        columns=columns,
        grain=_listed(options.get("grain", [])),
        indexes=tuple(options.get("index", [])),
        kind=options.get("kind", ["table"])[0],
        severity=Severity(options.get("severity", ["warning"])[0]),
        sql=sql,
    )


def _listed(values: Sequence[str]) -> tuple[str, ...]:
    return tuple(name.strip() for value in values for name in value.split(","))
