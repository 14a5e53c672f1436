"""What one run should read."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta


@dataclass(frozen=True, kw_only=True)
class ExtractRequest:
    """The extract request: what a run should do, and what earlier runs did.

    Args:
        full: Whether to do a full scan even if none is due.
        scan_every: The longest time between two validated scans.
        cursor: Kantata's time at the start of the last validated run; None before the first.
        scanned_at: Kantata's time at the start of the last validated scan; None before the first.
        has_validated_run: Whether any run was validated; only then are new columns reported.
        reported_changes: Schema changes that earlier runs reported, oldest first.
        unfinished: Whether a run since the last validated one ended while it was loading.
        allow_deletes: Whether any number of milestones may be marked as deleted at once.
        deleted_projects: Projects known to be deleted, so that their milestones are, too.
        read_currencies: Whether to read the currencies even if none is due.
        touched: Milestones that were just written to: read only these, if that is enough.
        project_details_read_at: Kantata's time at the start of the last validated run that read the
            clients and leads of all projects; None before the first.
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
    read_currencies: bool = False
    touched: frozenset[str] = frozenset()
    project_details_read_at: datetime | None = None
