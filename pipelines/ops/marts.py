"""Rebuild the marts and run their checks, without a sync."""

from __future__ import annotations

import os
from collections.abc import Callable

from pipelines.config.secrets import mask_secrets
from pipelines.runtime.clock import utc_now
from pipelines.runtime.exit_codes import ExitCode
from pipelines.sync.exchange_rates import check_currency, store_file_rates
from pipelines.sync.marts import build_context
from pipelines.sync.session import locked, open_existing, prepare_tables, publish_to_readers
from pipelines.sync.user_marts import build_and_publish
from warehouse.errors import WarehouseError
from warehouse.models import build
from warehouse.models.build import Finding, Severity
from warehouse.raw import runs
from warehouse.reader import check_exists, open_reader
from warehouse.target import Target
from warehouse.user_marts import plan_user_marts


def rebuild_marts(target: Target, note: Callable[[str], None] = lambda _: None) -> list[str]:
    """Rebuild our marts, and those of users, from the last validated run.

    Args:
        target: The warehouse.
        note: Called with a line for each table of users that was dropped.

    Returns:
        What requires action, a line each.

    Raises:
        WarehouseError: If no run was validated yet, a later run loaded rows without validating
            them, or a blocking check fails.
    """
    check_exists(target)
    with locked(target) as lock:
        with open_existing(lock) as database:
            prepare_tables(database)
            run = runs.last_proven_run(database)
            if run is None:
                raise WarehouseError("no run was validated yet: run `milestones sync`")
            if runs.run_history(database).has_unfinished_run:
                raise WarehouseError(
                    "a run loaded rows and ended before they were validated: run `milestones sync` "
                    "first. The marts are unchanged."
                )
            check_currency(database, target.reporting_currency)
            store_file_rates(database, target, utc_now)
            warnings = build.build_marts(database, build_context(run, target), always=True)
            plan = plan_user_marts(database, target.models, always=True)
        publish_to_readers(target)
        users = build_and_publish(target, plan, utc_now)
    for line in users.dropped:
        note(line)
    return [*warnings, *map(mask_secrets, users.problems)]


def check_marts(target: Target) -> list[Finding]:
    """Run every check of the marts; return what they find.

    A monitor on another machine may have only the published file, and a user of the ledger's group
    may read only this. Then it is checked.

    Raises:
        WarehouseError: If the marts do not exist.
    """
    check_exists(target)
    if target.loader and not os.access(target.loader, os.R_OK | os.W_OK):
        with open_reader(target) as reader:
            return build.run_checks(reader)
    with locked(target) as lock, open_existing(lock) as database:
        if not build.are_built(database):
            raise WarehouseError("marts are missing: run `milestones sync`")
        return build.run_checks(database)


def findings_exit_code(findings: list[Finding]) -> ExitCode:
    """Return the exit code of the marts' findings: 1 if one blocks, 3 if all warn, else 0."""
    if any(finding.severity is Severity.BLOCKING for finding in findings):
        return ExitCode.FAILED
    return ExitCode.ACTION_REQUIRED if findings else ExitCode.DONE
