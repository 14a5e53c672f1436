"""The result of a push: what it did, and what requires action by a person."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from pipelines.runtime.exit_codes import ExitCode
from sources.kantata.errors import KantataError
from warehouse.errors import WarehouseError
from warehouse.ledger.change import Change, Status


class WaitingChange(NamedTuple):
    """A change that a push left as it is.

    Args:
        change: The change.
        why: The reason, as a sentence for people.
    """

    change: Change
    why: str


@dataclass
class PushResult:
    """The result of a push.

    Args:
        changes: The changes that it decided on, as they are now.
        waiting: The changes that it left as they are.
        doubts: What else a person must check, a line each.
        stopped: The error that ended it early; None if nothing did.
        more: How many approved changes it left to later pushes without a decision.
    """

    changes: list[Change] = field(default_factory=list)
    waiting: list[WaitingChange] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    stopped: KantataError | WarehouseError | None = None
    more: int = 0

    @property
    def touched(self) -> frozenset[str]:
        """Return the ids of the milestones in the result, which this push may have changed."""
        return frozenset(c.milestone_id for c in self.changes if c.milestone_id)

    @property
    def happened(self) -> list[str]:
        """Return the result's lines that require action and that no later push reports."""
        return self._lines(Status.CONFLICT, Status.FAILED) + self.doubts

    @property
    def lasting(self) -> list[str]:
        """Return the result's lines that require action and that later pushes may repeat."""
        waiting = [f"change {c.change_id} waits: {why}" for c, why in self.waiting]
        return self._lines(Status.UNKNOWN) + waiting

    @property
    def needs(self) -> list[str]:
        """Return all of the result that requires action by a person, a line each."""
        return self.lasting + self.happened

    def _lines(self, *statuses: Status) -> list[str]:
        """Return a line for each change of the push's result that has one of these statuses."""
        found = [c for c in self.changes if c.status in statuses]
        return [f"change {c.change_id} is {c.status}: {c.outcome}" for c in found]

    @property
    def exit_code(self) -> int:
        """Return the result's exit code: 0, 3 if action is required, or that of what stopped it."""
        if self.stopped is not None:
            return self.stopped.exit_code
        return ExitCode.ACTION_REQUIRED if self.needs else ExitCode.DONE
