"""Marts for people: built from the raw tables by the SQL files beside this one, in one transaction.

They show the last state that was proven. If a blocking check finds something wrong they stay as
they were.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date

from dlt.destinations.exceptions import DatabaseException

from warehouse.database import DATASET, MARTS, STAGING, Database, driver_message
from warehouse.errors import WarehouseChecksFailed

from .ddl import define_mart, define_staging, ensure_indexes, has_all_relations
from .findings import Finding, checked_by_indexes, run_checks
from .refresh import fill_version_values, find_changed, refresh_mart
from .sql_files import (
    Model,
    ModelKind,
    Severity,
    checks,
    dictionary,
    marts,
    models_digest,
    staging,
)

__all__ = [
    "BuildContext",
    "Finding",
    "Model",
    "Severity",
    "are_built",
    "build_marts",
    "checks",
    "dictionary",
    "marts",
    "run_checks",
    "staging",
]  # fmt: skip

# What a row is to blame for, as PEP 249 names it; the last is DuckDB's for what is no JSON.
_DATA_ERRORS = {"DataError", "IntegrityError", "InvalidInputException"}
_REJECTED = f"(select count(*) from {DATASET}.rejected_records where resolved_at is null)"
_LIVE = f"from {DATASET}.billing_milestones where deleted_at is null"
_POSTGRES_SETTINGS = (
    # All raw tables as they are at one moment, whoever else may be loading.
    "set transaction isolation level repeatable read",
    "set local work_mem = '128MB'",  # else it sorts millions of rows on disk
    # Else it takes rows of a second core for so dear that it reads millions on one.
    "set local parallel_setup_cost = 0",
    "set local parallel_tuple_cost = 0",
    # Its hash tables would be in /dev/shm, of which a container has 64 MB.
    "set local enable_parallel_hash = off",
)


@dataclass(frozen=True, kw_only=True)
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


@dataclass(frozen=True, kw_only=True)
class LastBuild:
    """What the marts were built for, and with.

    Args:
        context: What they were built for.
        models_digest: Of the SQL files they were built with.
        warnings: What their checks found, in words.
    """

    context: BuildContext
    models_digest: str
    warnings: tuple[str, ...]

    @property
    def has_current_models(self) -> bool:
        """Whether it was built with the SQL files of this release."""
        return self.models_digest == models_digest()

    def is_as_of(self, context: BuildContext) -> bool:
        """Whether it has the same day, which changes figures though no record changed."""
        built = self.context
        return (built.as_of, built.timezone) == (context.as_of, context.timezone)


def build_marts(database: Database, context: BuildContext, always: bool = False) -> list[str]:
    """Build the marts anew, if anything changed since they were built.

    Args:
        database: A connection; the lock must be held.
        context: What they are built for.
        always: Build them also if nothing changed.

    Returns:
        Warnings, in words.

    Raises:
        WarehouseChecksFailed: If a blocking check found something, or a row cannot be read; the
            marts stay as they were.
    """
    last = _last_build(database) if has_all_relations(database) else None
    if last and not always and _is_current(database, last, context):
        database.execute(  # a record can be rejected, or good again, and nothing else be changed
            f"update {STAGING}.today set rejected_records = {_REJECTED} "
            f"where rejected_records is distinct from {_REJECTED}"
        )
        return list(last.warnings)
    if not database.is_postgres:
        database.execute("reset threads")  # loading has one
    with _translate_row_errors(), database.transaction():
        if database.is_postgres:
            for setting in _POSTGRES_SETTINGS:
                database.execute(setting)
        return _rebuild(database, last, context, always)


def _rebuild(
    database: Database, last: LastBuild | None, context: BuildContext, always: bool
) -> list[str]:
    has_new_models = last is None or not last.has_current_models
    if has_new_models:
        define_staging(database)
    _write_context(database, context)
    had_no_values = fill_version_values(database)
    everything = always or had_no_values or _amounts_changed(database, last)
    find_changed(database, everything)
    existing = database.tables(MARTS)
    for model in marts():
        if has_new_models:
            define_mart(database, model)
        if model.kind is ModelKind.VIEW:
            continue
        if model.name in existing:
            refresh_mart(database, model, everything)
        if database.is_postgres:
            ensure_indexes(database, model)
            database.execute(f"analyze {MARTS}.{model.name}")
    return _check(database)


def _write_context(database: Database, context: BuildContext) -> None:
    database.execute(f"delete from {STAGING}.today")
    database.execute(
        f"insert into {STAGING}.today (as_of, reporting_timezone, run_id, models, warnings, "
        "milestones, out_of_reach, rejected_records) values (%s, %s, %s, %s, '[]', "
        f"(select count(*) {_LIVE}), (select count(access_lost_at) {_LIVE}), {_REJECTED})",
        context.as_of, context.timezone, context.run_id, models_digest(),
    )  # fmt: skip


def _check(database: Database) -> list[str]:
    """Run the checks and keep their warnings; gives these.

    Raises:
        WarehouseChecksFailed: If a blocking check found something.
    """
    findings = run_checks(database, skip=checked_by_indexes(database))
    if blocking := [str(f) for f in findings if f.severity is Severity.BLOCKING]:
        raise WarehouseChecksFailed(
            "the marts stay as they were, nothing is published. " + "; ".join(blocking)
        )
    warnings = [str(finding) for finding in findings]
    database.execute(f"update {STAGING}.today set warnings = %s", json.dumps(warnings))
    return warnings


@contextmanager
def _translate_row_errors() -> Iterator[None]:
    """Tell a row that cannot be read from a database that fails: trying again mends nothing."""
    try:
        yield
    except DatabaseException as error:
        cause: BaseException | None = error
        while cause is not None and not _DATA_ERRORS & {c.__name__ for c in type(cause).__mro__}:
            cause = cause.__cause__ or cause.__context__
        if cause is None:
            raise
        detail = re.search("^DETAIL: +(.+)$", str(cause), re.M)  # as Postgres names a row
        raise WarehouseChecksFailed(
            "the marts stay as they were, nothing is published: they cannot be built of what the "
            f"raw tables hold: {driver_message(error)}{f'. {detail[1]}' if detail else ''}"
        ) from None


def are_built(database: Database) -> bool:
    """Whether there are all the marts, built."""
    return has_all_relations(database) and _last_build(database) is not None


def _last_build(database: Database) -> LastBuild | None:
    """What the marts were built for and with; None if there are none."""
    if "today" not in database.tables(STAGING):
        return None
    rows = database.rows(
        f"select as_of, reporting_timezone, run_id, models, warnings from {STAGING}.today"
    )
    if not rows:
        return None
    as_of, timezone, run_id, models, warnings = rows[0]
    return LastBuild(
        context=BuildContext(run_id=run_id, as_of=as_of, timezone=timezone),
        models_digest=models,
        warnings=tuple(json.loads(warnings)),
    )


def _is_current(database: Database, last: LastBuild, context: BuildContext) -> bool:
    """Whether the marts would be the same: no run since then changed a row.

    One that was cut off may have changed some.
    """
    if not last.is_as_of(context) or not last.has_current_models:
        return False
    changing_runs = database.rows(
        f"select count(*) from {DATASET}.sync_runs where run_id > %s and (side_rows <> '{{}}' "
        "or added + changed + deleted + restored + access_lost > 0 "
        "or (status <> 'proven' and run_id <> %s))",
        last.context.run_id,
        context.run_id,
    )
    return not changing_runs[0][0]


def _amounts_changed(database: Database, last: LastBuild | None) -> bool:
    """Whether the whole history is to be built anew: other SQL, or another unit of a currency."""
    if last is None or not last.has_current_models:
        return True
    return bool(
        database.rows(
            f"select count(*) from {DATASET}.sync_runs where run_id > %s and side_rows like %s",
            last.context.run_id,
            '%"currencies"%',
        )[0][0]
    )
