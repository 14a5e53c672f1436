"""What settling, planning, pushing and verifying share: the ledger, the reader and the result."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TypeVar

from pipelines.config.account_binding import check_account
from sources.kantata import KantataReader
from sources.kantata.errors import KantataError
from warehouse.ledger.change import Change, Status, Units
from warehouse.ledger.store import Ledger

from .account_state import AccountState
from .remote_state import read_account_state, read_minor_units
from .result import PushResult, WaitingChange
from .settlement import Settlement

_T = TypeVar("_T")
ACTOR = "milestones push"  # who moves a change, as its events name it
CHANGES_PER_READ = 20  # changes
MAY_HAVE_BEEN_SENT = frozenset({Status.APPLYING, Status.UNKNOWN})


class PushSession:
    """The ledger and the account of one push, and what it did so far.

    Args:
        ledger: The changes; its lock must be held for all but a dry run.
        reader: The door for reading.
        reconcile_after: How long an unknown outcome is left alone, by Kantata's clock.
    """

    def __init__(self, ledger: Ledger, reader: KantataReader, reconcile_after: timedelta) -> None:
        self.ledger = ledger
        self.reader = reader
        self.units: Units = {}
        self.result = PushResult()
        self._reconcile_after = reconcile_after

    def open(self, *, bind: bool = True) -> None:
        """Check that the ledger belongs to the account, and read what its minor units are worth.

        Args:
            bind: Whether a ledger that belongs to no account yet belongs to this one from now on.

        Raises:
            KantataError: If the account cannot be read.
            WarehouseMisconfigured: If the ledger belongs to another account.
        """
        check_account(self.ledger, self.reader, bind)
        self.units = read_minor_units(self.reader)

    @contextmanager
    def recording_errors(self) -> Iterator[None]:
        """End what is run within at an error of Kantata's, so that the rest of a push can go on."""
        try:
            yield
        except KantataError as error:
            self.result.stopped = self.result.stopped or error

    def now(self) -> datetime:
        """Kantata's time: the clocks of machines that push may differ."""
        return self.reader.server_now or self.ledger.now()

    def changes(self, *statuses: Status) -> list[Change]:
        """Changes in these statuses, the oldest first."""
        return self.ledger.changes(frozenset(statuses))

    def account_state(self, changes: Sequence[Change]) -> AccountState:
        """Read the account as it is now, as far as these changes need it.

        Raises:
            KantataError: If it cannot be read.
        """
        return read_account_state(self.reader, changes, self.units)

    def why_too_early(self, change: Change) -> str:
        """Why a change that may have been written must be left alone; empty if it need not be."""
        if change.status not in MAY_HAVE_BEEN_SENT or change.sent_at is None:
            return ""
        until = change.sent_at + self._reconcile_after
        if not self._reconcile_after or self.now() >= until:
            return ""
        return f"Kantata may still be at it until {until:%H:%M:%S} UTC"

    def move(
        self, change: Change, status: Status, why: str, request_id: str | None = None
    ) -> Change:
        """Move a change to a status from which this push goes on with it.

        Raises:
            ChangeRefused: If it is in another status by now.
        """
        return self.ledger.transition(change, status, who=ACTOR, what=why, request_id=request_id)

    def finish(
        self, change: Change, settlement: Settlement, *, request_id: str | None = None
    ) -> None:
        """Move a change to the status in which this push leaves it, and add it to the result."""
        moved = self.ledger.transition(
            change,
            settlement.status,
            who=ACTOR,
            what=settlement.why,
            request_id=request_id,
            milestone_id=settlement.milestone_id,
        )
        if settlement.status is not Status.APPROVED:
            self.result.changes.append(moved)

    def wait(self, change: Change, why: str) -> None:
        """Leave a change as it is, for a later push, and add it to the result."""
        self.result.waiting.append(WaitingChange(change, why))


def chunks(items: Sequence[_T], size: int) -> list[list[_T]]:
    """The items, at most so many at a time."""
    return [list(items[start : start + size]) for start in range(0, len(items), size)]
