"""Check that a sync reads the minor units of currencies that the warehouse holds."""

from __future__ import annotations

from collections.abc import Set
from shlex import quote

from sources.kantata import Report
from warehouse.errors import MinorUnitChanged
from warehouse.raw import minor_units
from warehouse.raw.minor_units import MinorUnitChange

from .begin import SyncJob


def check_minor_units(job: SyncJob, report: Report, accepted: Set[str]) -> list[MinorUnitChange]:
    """Return the changes of minor units that a sync has read, if all of them are accepted.

    Raises:
        MinorUnitChanged: If one is not; nothing is loaded then.
    """
    with job.connect() as database:
        changes = minor_units.find_changes(
            database,
            listed=report.minor_units,
            base_units=report.base_units,
            read=report.totals,
        )
    if refused := [change for change in changes if change.currency not in accepted]:
        options = " ".join(f"--accept-minor-unit {quote(change.currency)}" for change in refused)
        raise MinorUnitChanged(
            f"{'; '.join(map(str, refused))}. Nothing was loaded or published. If Kantata is "
            "wrong, correct it there. If it is right, accept it for what is read from now on: "
            f"milestones sync {options}"
        )
    for code in sorted(accepted - {change.currency for change in changes}):
        job.observer.note(f"{code}: there is no other minor unit to accept")
    return changes
