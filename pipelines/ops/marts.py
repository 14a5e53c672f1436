"""`milestones models` and `milestones checks`: the marts by themselves."""

from __future__ import annotations

from pipelines.config.targets import Place
from pipelines.sync.pipeline import NEEDS_A_PERSON, models_day
from pipelines.sync.session import holding, left_by_runs, prepare, publish_to_readers
from warehouse.errors import WarehouseError
from warehouse.models import build
from warehouse.models.build import Finding, Severity
from warehouse.raw import runs


def rebuild(place: Place) -> list[str]:
    """Build the marts anew from what the last proven run left; gives warnings.

    Raises:
        WarehouseError: If no run was proven yet, one has loaded since then what was not proven, or
            a blocking check found something.
    """
    with holding(place) as hold:
        with left_by_runs(hold) as database:
            prepare(database)
            latest = runs.latest(database.rows(runs.LATEST_PROVEN))
            if not latest:
                raise WarehouseError("no run was proven yet: run `milestones sync`")
            if runs.past(database).unfinished:
                raise WarehouseError(
                    "a run loaded rows and ended before they were proven: run `milestones sync` "
                    "first. The marts stay as they were."
                )
            warnings = build.refresh(database, models_day(latest[0], place.timezone), always=True)
        publish_to_readers(place)
    return warnings


def find(place: Place) -> list[Finding]:
    """Run every check against the marts there are.

    Raises:
        WarehouseError: If there are none.
    """
    with holding(place) as hold, left_by_runs(hold) as database:
        if not build.are_built(database):
            raise WarehouseError(
                "the marts are not there, or not all of them: run `milestones sync`"
            )
        return build.find(database)


def exit_code(findings: list[Finding]) -> int:
    """0; 3 for warnings; 1 if a blocking check found something."""
    if any(finding.severity is Severity.BLOCKING for finding in findings):
        return 1
    return NEEDS_A_PERSON if findings else 0
