"""Options of one sync."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SyncOptions:
    """Options of one sync.

    Args:
        full: Whether to do a full scan even if none is due.
        allow_deletes: Whether any number of milestones may be marked as deleted at once.
        deleted_projects: Ids of projects that can no longer be read because they were deleted:
            their milestones are marked as deleted.
        accepted_minor_units: Currencies whose minor unit may differ from the warehouse's.
        touched: Ids of milestones that a push just wrote; if any, only these are read.
    """

    full: bool = False
    allow_deletes: bool = False
    deleted_projects: frozenset[str] = frozenset()
    accepted_minor_units: frozenset[str] = frozenset()
    touched: frozenset[str] = frozenset()
