"""Reconciling: finding the result of changes that may have been written, by reading back.

Nothing here writes to Kantata.
"""

from __future__ import annotations

from datetime import timedelta

from warehouse.ledger.change import Action, Change, Status

from .push_session import ACTOR, CHANGES_PER_READ, PushSession, chunks
from .resend import corrected_look, look_at, resends_after
from .result import PushResult
from .settlement import Settlement, settle
from .verify import verify

# A time of sending that is further ahead than this comes from a wrong clock.
_CLOCK_TOLERANCE = timedelta(minutes=1)


def reconcile(session: PushSession) -> PushResult:
    """Reconcile the ledger: settle unknown changes, and verify the written ones; send nothing.

    Raises:
        WarehouseError: If the ledger cannot be used or belongs to another account.
    """
    with session.recording_errors():
        session.open()
        Reconciler(session).settle()
        verify(session)
    return session.result


class Reconciler:
    """Settles changes whose outcome is unknown, by reading back their milestones.

    Args:
        session: An open session.
    """

    def __init__(self, session: PushSession) -> None:
        self._session = session

    def settle(self) -> None:
        """Reconcile each change that may have been written, unless it is too early.

        Raises:
            KantataError: If the account cannot be read.
        """
        self._mark_interrupted()
        for changes in chunks(self._due(), CHANGES_PER_READ):
            self._settle_all(changes)

    def _mark_interrupted(self) -> None:
        """Mark changes that an interrupted push was sending as unknown, to reconcile them.

        The push lock is ours, so that push has ended.
        """
        for change in self._session.changes(Status.APPLYING):
            why = "the process that sent it ended before Kantata answered"
            self._session.transition(change, Status.UNKNOWN, why)

    def _due(self) -> list[Change]:
        """Return the unknown changes that may be reconciled now; defer the others."""
        due = []
        for change in self._session.changes(Status.UNKNOWN):
            if why := self._session.why_too_early(self._with_possible_time(change)):
                self._session.defer(change, why)
            else:
                due.append(change)
        return due

    def _with_possible_time(self, change: Change) -> Change:
        """Return the change to reconcile, with a time of sending in the future set to now."""
        now = self._session.now()
        if change.sent_at is None or change.sent_at <= now + _CLOCK_TOLERANCE:
            return change
        why = (
            f"it was sent at {change.sent_at:%Y-%m-%d %H:%M:%S} UTC by a clock that was ahead of "
            "Kantata's: reconcile_after counts from now on"
        )
        return self._session.ledger.correct_sent_at(
            change, now, who=ACTOR, what=why, looked_at=corrected_look(change, now)
        )

    def _settle_all(self, changes: list[Change]) -> None:
        """Reconcile some changes: finish each by what is read back, or defer it."""
        account = self._session.account_state(changes)
        for change in changes:
            settlement = settle(change, account)
            if settlement is None:
                self._session.defer(change, account.why_unknown(change))
            elif settlement.status is Status.APPROVED and change.action is Action.CREATE:
                self._approve_again(change, settlement)
            else:
                self._session.finish(change, settlement)

    def _approve_again(self, change: Change, settlement: Settlement) -> None:
        """Reconcile a create that was not found: approve it again, or leave it unknown."""
        if why := self._session.why_not_again(change):
            if change.looked_at is None:
                self._session.ledger.record_look(
                    change,
                    look_at(change, self._session.now()),
                    who=ACTOR,
                    what=f"{settlement.why} so far",
                )
            self._session.defer(change, why)
        else:
            self._session.ledger.approve_again(
                change, resends_after(change), who=ACTOR, what=settlement.why
            )
