"""What one run is asked to read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, kw_only=True)
class ExtractRequest:
    """What a run should do, and what earlier ones did.

    Args:
        full: Whether a scan was asked for.
        scan_every: The longest time between two proven scans.
        cursor: Kantata's time from which on changes may be unknown; None before the first proof.
        scanned_at: Kantata's time at the start of the last proven scan.
        has_validated_run: Whether any run was proven, so that a new column is worth telling.
        reported_changes: Schema changes that were told before, oldest first.
        unfinished: Whether a run since the last proven one ended while it was loading.
        allow_deletes: Whether any number of milestones may be marked as deleted at once.
        deleted_projects: Projects whose milestones are deleted, though nobody can read them.
        touched: Milestones that were just written to: read these and no others, if that will do.
    """

    full: bool = False
    scan_every: timedelta = timedelta(hours=24)
    cursor: datetime | None = None
    scanned_at: datetime | None = None
    has_validated_run: bool = False
    reported_changes: tuple[str, ...] = ()
    unfinished: bool = False
    allow_deletes: bool = False
    deleted_projects: frozenset[str] = frozenset()
    touched: frozenset[str] = frozenset()
