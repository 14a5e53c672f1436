"""`milestones models` and `milestones checks`: the marts by themselves."""

from __future__ import annotations

from pipelines.runtime.exit_codes import ExitCode
from pipelines.sync.pipeline import build_context
from pipelines.sync.session import locked, open_existing, prepare_tables, publish_to_readers
from warehouse.errors import WarehouseError
from warehouse.models import build
from warehouse.models.build import Finding, Severity
from warehouse.raw import runs
from warehouse.target import Target


def rebuild_marts(target: Target) -> list[str]:
    """Build the marts anew from what the last proven run left; gives warnings.

    Raises:
        WarehouseError: If no run was proven yet, one has loaded since then what was not proven, or
            a blocking check found something.
    """
    with locked(target) as lock:
        with open_existing(lock) as database:
            prepare_tables(database)
            run = runs.last_proven_run(database)
            if run is None:
                raise WarehouseError("no run was proven yet: run `milestones sync`")
            if runs.run_history(database).has_unfinished_run:
                raise WarehouseError(
                    "a run loaded rows and ended before they were proven: run `milestones sync` "
                    "first. The marts stay as they were."
                )
            warnings = build.build_marts(database, build_context(run, target.timezone), always=True)
        publish_to_readers(target)
    return warnings


def check_marts(target: Target) -> list[Finding]:
    """Run every check against the marts there are.

    Raises:
        WarehouseError: If there are none.
    """
    with locked(target) as lock, open_existing(lock) as database:
        if not build.are_built(database):
            raise WarehouseError(
                "the marts are not there, or not all of them: run `milestones sync`"
            )
        return build.run_checks(database)


def findings_exit_code(findings: list[Finding]) -> ExitCode:
    """0; 3 for warnings; 1 if a blocking check found something."""
    if any(finding.severity is Severity.BLOCKING for finding in findings):
        return ExitCode.FAILED
    return ExitCode.ACTION_REQUIRED if findings else ExitCode.DONE
