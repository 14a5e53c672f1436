"""What a person may ask of one sync."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class SyncOptions:
    """What a person asks of one run.

    Args:
        full: A scan, whatever is due.
        allow_deletes: Any number of milestones may be marked as deleted at once.
        deleted_projects: Projects nobody can read, whose milestones are deleted.
        touched: Milestones that were just written to, to read no others.
    """

    full: bool = False
    allow_deletes: bool = False
    deleted_projects: frozenset[str] = frozenset()
    touched: frozenset[str] = frozenset()
