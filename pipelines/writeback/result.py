"""What a push did, and what it leaves to a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from sources.kantata.errors import KantataError
from warehouse.errors import WarehouseError
from warehouse.ledger.change import Change, Status


class WaitingChange(NamedTuple):
    """A change that a push left as it is.

    Args:
        change: Which one.
        why: In words.
    """

    change: Change
    why: str


@dataclass
class PushResult:
    """What a push did.

    Args:
        changes: Changes it decided on, as they are now.
        waiting: Changes it left as they are.
        doubts: What a person should look at, besides.
        stopped: Why it ended early; None if it did not.
        more: How many approved changes it left for later pushes, beyond ``max_changes``.
    """

    changes: list[Change] = field(default_factory=list)
    waiting: list[WaitingChange] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    stopped: KantataError | WarehouseError | None = None
    more: int = 0

    @property
    def touched(self) -> frozenset[str]:
        """Ids of milestones that may be different now."""
        return frozenset(c.milestone_id for c in self.changes if c.milestone_id)

    @property
    def happened(self) -> list[str]:
        """What this push met and leaves to a person, a line each: no later one reports it."""
        return self._lines(Status.CONFLICT, Status.FAILED) + self.doubts

    @property
    def lasting(self) -> list[str]:
        """What the next push will report again unless it is settled, a line each."""
        waiting = [f"change {c.change_id} waits: {why}" for c, why in self.waiting]
        return self._lines(Status.UNKNOWN) + waiting

    @property
    def needs(self) -> list[str]:
        """What it leaves to a person, a line each."""
        return self.lasting + self.happened

    def _lines(self, *statuses: Status) -> list[str]:
        found = [c for c in self.changes if c.status in statuses]
        return [f"change {c.change_id} is {c.status}: {c.outcome}" for c in found]

    @property
    def exit_code(self) -> int:
        """0; 3 if action is required; that of what stopped it."""
        if self.stopped is not None:
            return self.stopped.exit_code
        return 3 if self.needs else 0
