"""Building the marts from the raw tables with the SQL files of this package, in one transaction.

The marts show the last validated state. If a blocking check finds wrong rows, they are not changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import date

from dlt.destinations.exceptions import DatabaseException

from warehouse.database import DATASET, MARTS, STAGING, Database
from warehouse.errors import WarehouseChecksFailed
from warehouse.failures import driver_message
from warehouse.raw.exchange_rates import rates_state
from warehouse.raw.minor_units import keep_units_of_deleted

from .calendar import write_calendar
from .ddl import (
    define_mart,
    define_staging,
    define_staging_on,
    ensure_indexes,
    has_all_relations,
)
from .findings import Finding, checked_by_indexes, run_checks
from .refresh import fill_version_values, find_changed, refresh_mart
from .reporting_rates import write_rates
from .sql_files import (
    Model,
    ModelKind,
    Severity,
    checks,
    marts,
    models_digest,
    staging,
)
from .statistics import analyze

__all__ = [
    "BuildContext",
    "Finding",
    "Model",
    "Severity",
    "are_built",
    "build_marts",
    "checks",
    "marts",
    "run_checks",
    "staging",
]  # fmt: skip

# Errors caused by a row: two names of PEP 249, and DuckDB's for text that is not JSON.
_DATA_ERRORS = {"DataError", "IntegrityError", "InvalidInputException"}
_REJECTED = f"(select count(*) from {DATASET}.rejected_records where resolved_at is null)"
_LIVE = f"from {DATASET}.billing_milestones where deleted_at is null"
# Milestones, those with access lost, and rejected records, as ``today`` has them.
COUNTS = f"(select count(*) {_LIVE}), (select count(access_lost_at) {_LIVE}), {_REJECTED}"
_POSTGRES_SETTINGS = (
    # All raw tables are read as of one moment, even if another process is loading.
    "set transaction isolation level repeatable read",
    "set local work_mem = '128MB'",  # otherwise millions of rows are sorted on disk
    # Otherwise the planner estimates parallel plans as too expensive, and reads millions of rows on
    # one core.
    "set local parallel_setup_cost = 0",
    "set local parallel_tuple_cost = 0",
    # Shared hash tables are in /dev/shm, and a container has only 64 MB of it.
    "set local enable_parallel_hash = off",
)


@dataclass(frozen=True, kw_only=True)
class BuildContext:
    """The run and day that the marts are built for.

    Args:
        run_id: The run whose state they show.
        as_of: The day they call today.
        timezone: ``reporting_timezone``.
        reporting_currency: ISO code of the currency to convert to; empty for none.
    """

    run_id: str
    as_of: date
    timezone: str
    reporting_currency: str = ""


@dataclass(frozen=True, kw_only=True)
class LastBuild:
    """The last build of the marts.

    Args:
        context: The run and day they were built for.
        models_digest: The digest of the SQL files they were built with.
        warnings: The findings of warning checks, a line each.
        rates: The state of the exchange rates.
        missing_rates: A line that names missing rates; empty if none were.
    """

    context: BuildContext
    models_digest: str
    warnings: tuple[str, ...]
    rates: str
    missing_rates: str

    @property
    def has_current_models(self) -> bool:
        """Whether the last build of the marts used the SQL files of this release."""
        return self.models_digest == models_digest()

    def is_as_of(self, context: BuildContext) -> bool:
        """Return whether the last build has this day, time zone and reporting currency."""
        return replace(self.context, run_id=context.run_id) == context


def build_marts(database: Database, context: BuildContext, always: bool = False) -> list[str]:
    """Rebuild the marts if anything changed since they were built.

    Args:
        database: A connection; the caller must hold the lock.
        context: The run and day to build them for.
        always: Whether to rebuild them even if nothing changed.

    Returns:
        The findings of warning checks, a line each, and a line that names missing exchange rates if
        they are others than in the build before.

    Raises:
        WarehouseChecksFailed: If a blocking check found wrong rows, or a raw row cannot be
            converted; the marts are not changed.
    """
    last = _last_build(database) if has_all_relations(database) else None
    if last and not always and _is_current(database, last, context):
        database.execute(  # a record may be rejected, or valid again, and nothing else changed
            f"update {STAGING}.today set rejected_records = {_REJECTED} "
            f"where rejected_records is distinct from {_REJECTED}"
        )
        return list(last.warnings)
    if not database.is_postgres:
        database.execute("reset threads")  # loading uses one thread
    try:
        return _build_at_once(database, last, context, always)
    except WarehouseChecksFailed:
        if always or last is None:
            raise
        # Somebody may have altered rows that a refresh keeps: all are written, and checked again.
        return _build_at_once(database, last, context, always=True)


def _build_at_once(
    database: Database, last: LastBuild | None, context: BuildContext, always: bool
) -> list[str]:
    """Build the marts in one transaction; return the warnings."""
    with _translate_row_errors(), database.transaction():
        if database.is_postgres:
            for setting in _POSTGRES_SETTINGS:
                database.execute(setting)
        return _rebuild(database, last, context, always)


def _rebuild(
    database: Database, last: LastBuild | None, context: BuildContext, always: bool
) -> list[str]:
    """Build the marts in the open transaction, and check them; return the warnings."""
    has_new_models = last is None or not last.has_current_models
    if has_new_models:
        define_staging(database)
    missing_rates = write_rates(database, context.reporting_currency, context.as_of)
    _write_context(database, context, missing_rates)
    had_no_values = fill_version_values(database)
    keep_units_of_deleted(database)
    everything = always or had_no_values or _amounts_changed(database, last)
    find_changed(database, everything)
    existing = database.tables(MARTS)
    for model in marts():
        if has_new_models:
            define_mart(database, model, existing.get(model.name, {}))
            define_staging_on(database, model)
        if model.kind is ModelKind.VIEW:
            continue
        if model.name in existing:
            refresh_mart(database, model, everything)
        if model.name == "billing_milestone_history":  # the marts after it need the months it spans
            write_calendar(database, context.as_of, context.timezone)
        if database.is_postgres:
            ensure_indexes(database, model)
            if model.name not in existing:
                analyze(database, f"{MARTS}.{model.name}")
    is_new = missing_rates and (last is None or missing_rates != last.missing_rates)
    return [*_check(database), *([missing_rates] if is_new else [])]


def missing_rates(database: Database) -> str:
    """Return the line that names exchange rates the last build missed; empty if none."""
    return str(database.rows(f"select coalesce(max(missing_rates), '') from {STAGING}.today")[0][0])


def _write_context(database: Database, context: BuildContext, missing_rates: str) -> None:
    """Write the run and day of the build, its SQL files' digest and its counts to ``today``."""
    database.execute(f"delete from {STAGING}.today")
    database.execute(
        f"insert into {STAGING}.today (as_of, reporting_timezone, run_id, models, warnings, "
        "milestones, out_of_reach, rejected_records, reporting_currency, rates, missing_rates) "
        "values (%s, %s, %s, %s, '[]', "
        f"{COUNTS}, %s, %s, %s)",
        context.as_of, context.timezone, context.run_id, models_digest(),
        context.reporting_currency or None, rates_state(database), missing_rates,
    )  # fmt: skip
    analyze(database, f"{STAGING}.today")


def _check(database: Database) -> list[str]:
    """Run the checks of a build, save their warnings, and return them.

    Raises:
        WarehouseChecksFailed: If a blocking check found wrong rows.
    """
    findings = run_checks(database, skip=checked_by_indexes(database))
    if blocking := [str(f) for f in findings if f.severity is Severity.BLOCKING]:
        raise WarehouseChecksFailed(
            "the marts were not changed, and nothing is published. " + "; ".join(blocking)
        )
    warnings = [str(finding) for finding in findings]
    database.execute(f"update {STAGING}.today set warnings = %s", json.dumps(warnings))
    return warnings


@contextmanager
def _translate_row_errors() -> Iterator[None]:
    """Raise a failed check if a raw row makes the build fail: a retry would not help."""
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
            "the marts were not changed, and nothing is published: a row of the raw tables cannot "
            f"be converted: {driver_message(error)}{f'. {detail[1]}' if detail else ''}"
        ) from None


def are_built(database: Database) -> bool:
    """Return whether all marts exist and a build of them is recorded."""
    return has_all_relations(database) and _last_build(database) is not None


def _last_build(database: Database) -> LastBuild | None:
    """Return the last build of the marts; None if there was none."""
    if "today" not in database.tables(STAGING):
        return None
    rows = database.rows(
        "select as_of, reporting_timezone, run_id, coalesce(reporting_currency, ''), models, "
        f"warnings, rates, coalesce(missing_rates, '') from {STAGING}.today"
    )
    if not rows:
        return None
    as_of, timezone, run_id, currency, models, warnings, rates, missing = rows[0]
    return LastBuild(
        context=BuildContext(
            run_id=run_id, as_of=as_of, timezone=timezone, reporting_currency=currency
        ),
        models_digest=models,
        warnings=tuple(json.loads(warnings)),
        rates=rates,
        missing_rates=missing,
    )


def _is_current(database: Database, last: LastBuild, context: BuildContext) -> bool:
    """Return whether a new build would give the same marts: no run since then changed a row.

    A run that was interrupted may have changed some.
    """
    if not last.is_as_of(context) or not last.has_current_models:
        return False
    if last.rates != rates_state(database):
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
    """Return whether the build must replace all amounts: other SQL, or a changed currency unit."""
    if last is None or not last.has_current_models:
        return True
    return bool(
        database.rows(
            f"select count(*) from {DATASET}.sync_runs where run_id > %s and side_rows like %s",
            last.context.run_id,
            '%"currencies"%',
        )[0][0]
    )
