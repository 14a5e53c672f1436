"""Marts for people: built from the raw tables by the SQL files beside this one, in one transaction.

They show the last state that was proven. If a blocking check finds something wrong they stay as
they were.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date
from typing import Any

from dlt.destinations.exceptions import DatabaseException

from warehouse.database import DATASET, MARTS, STAGING, Database, reason
from warehouse.errors import WarehouseChecksFailed

from .ddl import are_complete, define_mart, define_staging, ensure_indexes
from .refresh import IN_CHANGED, fill_version_values, find_changed, refresh_mart
from .sql_files import Model, Severity, checks, dictionary, digest, grain, marts, staging

__all__ = [
    "BuildContext",
    "Finding",
    "Model",
    "Severity",
    "are_built",
    "checks",
    "dictionary",
    "marts",
    "refresh",
    "run_checks",
    "staging",
]  # fmt: skip

SHOWN = 10  # rows a finding shows
# What a row is to blame for, as PEP 249 names it; the last is DuckDB's for what is no JSON.
_OF_THE_DATA = {"DataError", "IntegrityError", "InvalidInputException"}
_REJECTED = f"(select count(*) from {DATASET}.rejected_records where resolved_at is null)"
_LIVE = f"from {DATASET}.billing_milestones where deleted_at is null"


@dataclass(frozen=True)
class BuildContext:
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


def refresh(database: Database, day: BuildContext, always: bool = False) -> list[str]:
    """Build the marts anew, if anything changed since they were built.

    Args:
        database: A connection; the lock must be held.
        day: What they are built for.
        always: Build them also if nothing changed.

    Returns:
        Warnings, in words.

    Raises:
        WarehouseChecksFailed: If a blocking check found something, or a row cannot be read; the
            marts stay as they were.
    """
    built = _last_build(database) if are_complete(database) else None
    if (
        not always
        and built
        and built["day"] == context_key(day)
        and not _changed(database, built, day)
    ):
        database.run(  # a record can be rejected, or good again, and nothing else be changed
            f"update {STAGING}.today set rejected_records = {_REJECTED} "
            f"where rejected_records is distinct from {_REJECTED}"
        )
        return list(json.loads(built["warnings"]))
    if not database.is_postgres:
        database.run("reset threads")  # loading has one
    with _translate_row_errors(), database.transaction():
        if database.is_postgres:
            # All raw tables as they are at one moment, whoever else may be loading.
            database.run("set transaction isolation level repeatable read")
            database.run("set local work_mem = '128MB'")  # else it sorts millions of rows on disk
            # Else it takes rows of a second core for so dear that it reads millions on one.
            database.run("set local parallel_setup_cost = 0")
            database.run("set local parallel_tuple_cost = 0")
            # Its hash tables would be in /dev/shm, of which a container has 64 MB.
            database.run("set local enable_parallel_hash = off")
        return _rebuild(database, built, day, always)


def _rebuild(
    database: Database, built: dict[str, Any] | None, day: BuildContext, always: bool
) -> list[str]:
    is_new = built is None or built["models"] != digest()
    if is_new:
        define_staging(database)
    database.run(f"delete from {STAGING}.today")
    database.run(
        f"insert into {STAGING}.today (as_of, reporting_timezone, run_id, models, warnings, "
        "milestones, out_of_reach, rejected_records) values (%s, %s, %s, %s, '[]', "
        f"(select count(*) {_LIVE}), (select count(access_lost_at) {_LIVE}), {_REJECTED})",
        day.as_of, day.timezone, day.run_id, digest(),
    )  # fmt: skip
    had_no_values = fill_version_values(database)
    all_of_them = always or had_no_values or _amounts_changed(database, built)
    find_changed(database, all_of_them)
    existing = database.tables(MARTS)
    for model in marts():
        if is_new:
            define_mart(database, model)
        if model.kind != "view" and model.name in existing:
            some = model.kind == "history" and not all_of_them
            refresh_mart(database, model, IN_CHANGED if some else "true")
        if model.kind != "view" and database.is_postgres:
            ensure_indexes(database, model)
            database.run(f"analyze {MARTS}.{model.name}")
    findings = run_checks(database, but=_checked_by_indexes(database))
    if wrong := [str(f) for f in findings if f.severity is Severity.BLOCKING]:
        raise WarehouseChecksFailed(
            "the marts stay as they were, nothing is published. " + "; ".join(wrong)
        )
    warnings = [str(finding) for finding in findings]
    database.run(f"update {STAGING}.today set warnings = %s", json.dumps(warnings))
    return warnings


@contextmanager
def _translate_row_errors() -> Iterator[None]:
    """Tell a row that cannot be read from a database that fails: trying again mends nothing."""
    try:
        yield
    except DatabaseException as error:
        seen: BaseException | None = error
        while seen is not None and not _OF_THE_DATA & {c.__name__ for c in type(seen).__mro__}:
            seen = seen.__cause__ or seen.__context__
        if seen is None:
            raise
        detail = re.search("^DETAIL: +(.+)$", str(seen), re.M)  # as Postgres names a row
        raise WarehouseChecksFailed(
            "the marts stay as they were, nothing is published: they cannot be built of what the "
            f"raw tables hold: {reason(error)}{f'. {detail[1]}' if detail else ''}"
        ) from None


def _checked_by_indexes(database: Database) -> set[str]:
    """Queries of checks that need no reading, since a unique index has seen to it."""
    return {grain(MARTS, m).sql for m in marts() if m.is_large} if database.is_postgres else set()


def run_checks(database: Database, but: Collection[str] = ()) -> list[Finding]:
    """Run the checks.

    Args:
        database: A connection to a warehouse whose marts are built.
        but: The queries of those that need not be run.

    Returns:
        What is wrong; nothing if all holds.
    """
    found = []
    for check in (check for check in checks() if check.sql not in but):
        count = database.rows(f"select count(*) from ({check.sql}) wrong")[0][0]
        if count:
            # In an order, since alerts compare what is told of two runs.
            shown = database.records(
                f"select * from ({check.sql}) wrong order by wrong::text limit {SHOWN}"
            )
            rows = tuple({name: str(value) for name, value in row.items()} for row in shown)
            found.append(Finding(check.name, check.severity, check.about, count, rows))
    return found


def are_built(database: Database) -> bool:
    """Whether there are all the marts, built."""
    return are_complete(database) and _last_build(database) is not None


def context_key(day: BuildContext) -> tuple[date, str]:
    """What of a day changes figures though no record changed."""
    return day.as_of, day.timezone


def _last_build(database: Database) -> dict[str, Any] | None:
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


def _changed(database: Database, built: dict[str, Any], day: BuildContext) -> bool:
    """Whether a run since then changed a row, or was cut off while it may have done so."""
    runs = database.rows(
        f"select count(*) from {DATASET}.sync_runs where run_id > %s and (side_rows <> '{{}}' "
        "or added + changed + deleted + restored + access_lost > 0 "
        "or (status <> 'proven' and run_id <> %s))",
        built["run_id"],
        day.run_id,
    )
    return built["models"] != digest() or bool(runs[0][0])


def _amounts_changed(database: Database, built: dict[str, Any] | None) -> bool:
    """Whether the whole history is to be built anew: other SQL, or another unit of a currency."""
    if built is None or built["models"] != digest():
        return True
    return bool(
        database.rows(
            f"select count(*) from {DATASET}.sync_runs where run_id > %s and side_rows like %s",
            built["run_id"],
            '%"currencies"%',
        )[0][0]
    )
