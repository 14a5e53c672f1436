"""What one read of the account found, for the code that started it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple


class RejectedRecord(NamedTuple):
    """A record that could not be typed, as the report lists it.

    Args:
        table: The raw table it belongs to.
        id: Its id.
        reason: Every field that does not fit its column, and why.
    """

    table: str
    id: str
    reason: str

    def __str__(self) -> str:
        """Return one line for a person."""
        return f"{self.table} {self.id} is rejected, its last good row stays: {self.reason}"


@dataclass
class Report:
    """The report of what a run found, filled while the source is read, complete at the run's end.

    Args:
        mode: ``scan``, ``feed`` or ``touched``; ``undecided`` until the run has chosen.
        why: Why this mode.
        read: Milestones read.
        added: Milestones the warehouse did not have.
        changed: Milestones whose content differs from what the warehouse has.
        deleted: Milestones marked as deleted.
        restored: Milestones that were marked as deleted or access lost, and were read again.
        access_lost: Milestones marked as access lost, since their project cannot be read.
        side_rows: New and changed rows of the other tables, by table.
        rewritten: Large tables with a row for a key that had one already, in the warehouse or
            earlier in this run.
        rejected: Records that cannot be typed.
        schema_changes: New columns and missing fields, one line each.
        warnings: What a person should look at, one line each.
        totals: Number and sum in minor units, by currency, of the milestones read and accepted.
        unproven: Live milestones that ``totals`` leaves out: not read, or rejected.
        ids: The milestones an incremental sync looked at; None after a scan, which looks at all.
        minor_units: How many minor units a currency has, as listed in this run; empty if the list
            was not read.
        base_units: The same by currency, as the projects and invoices say that were read.
        read_project_details: Whether the clients and leads of all projects were read, as far as the
            token's user may see them.
        requests: Requests sent.
        server_time: Kantata's time before the first request, UTC.
        observed_until: The end of the read by the clock of observations, UTC; later than all times
            of its rows.
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
    rewritten: set[str] = field(default_factory=set)
    rejected: list[RejectedRecord] = field(default_factory=list)
    schema_changes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    totals: dict[str, tuple[int, int]] = field(default_factory=dict)
    unproven: list[str] = field(default_factory=list)
    ids: list[str] | None = None
    minor_units: dict[str, int] = field(default_factory=dict)
    base_units: dict[str, set[int]] = field(default_factory=dict)
    read_project_details: bool = False
    requests: int = 0
    server_time: datetime | None = None
    observed_until: datetime | None = None
