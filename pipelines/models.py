"""`milestones models` and `milestones checks`: the marts by themselves."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from warehouse import lock, models, runs
from warehouse.database import Database, opened
from warehouse.errors import WarehouseError
from warehouse.models import Finding, Severity

from .settings import Place
from .sync import NEEDS_A_PERSON, models_day, publish_to_readers, server_lock


def rebuild(place: Place) -> list[str]:
    """Build the marts anew from what the last proven run left; gives warnings.

    Raises:
        WarehouseError: If no run was proven yet, or a blocking check found something.
    """
    with _proven(place) as database:
        latest = runs.latest(database.rows(runs.LATEST_PROVEN))
        if not latest:
            raise WarehouseError("no run was proven yet: run `milestones sync`")
        warnings = models.refresh(database, models_day(latest[0], place.timezone), always=True)
    publish_to_readers(place)
    return warnings


def find(place: Place) -> list[Finding]:
    """Run every check against the marts there are.

    Raises:
        WarehouseError: If there are none.
    """
    with _proven(place) as database:
        if not models.are_built(database):
            raise WarehouseError("there are no marts yet: run `milestones sync`")
        return models.find(database)


def exit_code(findings: list[Finding]) -> int:
    """0; 3 for warnings; 1 if a blocking check found something."""
    if any(finding.severity is Severity.BLOCKING for finding in findings):
        return 1
    return NEEDS_A_PERSON if findings else 0


@contextmanager
def _proven(place: Place) -> Iterator[Database]:
    """The warehouse, locked."""
    if place.loader and not place.loader.exists():
        raise WarehouseError(f"there is no {place.loader} yet: run `milestones sync`")
    with lock.file_lock(place.lock):
        pipeline = place.pipeline()
        with server_lock(place, pipeline), opened(pipeline) as database:
            if "sync_runs" not in database.tables():
                raise WarehouseError("there are no milestones yet: run `milestones sync`")
            yield database
