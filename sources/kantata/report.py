"""What one read of the account found, for whoever started it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple


class RejectedRecord(NamedTuple):
    """A record that could not be typed.

    Args:
        table: The raw table it belongs to.
        id: Its id.
        reason: Every field that does not fit, and why.
    """

    table: str
    id: str
    reason: str

    def __str__(self) -> str:
        """Return one line for a person."""
        return f"{self.table} {self.id} is rejected, its last good row stays: {self.reason}"


@dataclass
class Report:
    """Filled while the source is read; complete when it ends.

    Args:
        mode: ``scan`` or ``feed``.
        why: Why this mode.
        read: Milestones read.
        added: Milestones the warehouse did not have.
        changed: Milestones whose content differs from what the warehouse has.
        deleted: Milestones marked as deleted.
        restored: Milestones that were marked as gone, and are back.
        access_lost: Milestones marked as out of reach, since their project is.
        side_rows: New and changed rows of the tables beside, by table.
        rejected: Records that cannot be typed.
        schema_changes: Columns that came, and fields that went, in words.
        warnings: Everything a person should look at, in words.
        totals: Milestones and their sum in subunits, by currency, of what was read and is good.
        unproven: Live milestones of the warehouse that ``totals`` leaves out: not read or rejected.
        ids: Of a feed run, the milestones it looked at; None of a scan, which looks at all.
        requests: Requests sent.
        server_time: Kantata's time before the first request, UTC.
    """

    mode: str = "undecided"
    why: str = ""
    read: int = 0
    added: int = 0
    changed: int = 0
    deleted: int = 0
    restored: int = 0
    access_lost: int = 0
    side_rows: dict[str, int] = field(default_factory=dict)
    rejected: list[RejectedRecord] = field(default_factory=list)
    schema_changes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    totals: dict[str, tuple[int, int]] = field(default_factory=dict)
    unproven: list[str] = field(default_factory=list)
    ids: list[str] | None = None
    requests: int = 0
    server_time: datetime | None = None
