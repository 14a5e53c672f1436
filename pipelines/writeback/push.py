"""Pushing: writing approved changes to Kantata, each at most once, never over a known edit."""

from __future__ import annotations

import time
from collections.abc import Sequence

from sources.kantata.api.reader import is_long_wait
from sources.kantata.api.writer import KantataWriter
from sources.kantata.errors import (
    KantataNeverArrived,
    KantataThrottled,
    KantataUnavailable,
)
from sources.kantata.settings import ATTEMPTS
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Change, Status
from warehouse.ledger.verification import untrusted_changes

from .delivery import Delivery, result_of
from .plan import Conflict, Deferred, NoOp, Step, Write
from .push_session import ACTOR, CHANGES_PER_READ, PushSession
from .reconcile import Reconciler
from .result import PushResult
from .settlement import Settlement
from .verify import verify

FRESH = 5.0  # seconds: no write relies on a state that was read earlier
STALE_ATTEMPTS = 2  # attempts at a change whose state is too old when it could be sent


class _StaleState(Exception):
    """The account's state was read too long ago, so the change was not sent."""


def push(session: PushSession, writer: KantataWriter, max_changes: int) -> PushResult:
    """Push the ledger's changes: settle unknown ones, write approved ones, verify those written.

    Args:
        session: A new session. The push lock of its ledger must be held.
        writer: Writes to the account.
        max_changes: The most changes that this push may decide on.

    Raises:
        WarehouseError: If the ledger cannot be used or belongs to another account.
    """
    with session.recording_errors():
        session.open()
        Reconciler(session).settle()
        Pusher(session, writer).run(max_changes)
    approved = {change.change_id for change in session.changes(Status.APPROVED)}
    session.result.more = len(approved - {c.change_id for c, _ in session.result.waiting})
    with session.recording_errors():
        verify(session)
    return session.result


class Pusher:
    """Pushes approved changes.

    Args:
        session: An open session.
        writer: Writes to the account.
    """

    def __init__(self, session: PushSession, writer: KantataWriter) -> None:
        self._session = session
        self._delivery = Delivery(session, writer)
        self._read_at = 0.0
        self._failures = 0  # of the current change

    def run(self, max_changes: int) -> None:
        """Push approved changes, the oldest first; those that must wait do not count.

        Raises:
            KantataError: If it would fail for any other change, too.
        """
        approved = self._session.changes(Status.APPROVED)
        while approved and self._delivery.decided < max_changes:
            size = min(CHANGES_PER_READ, max_changes - self._delivery.decided)
            chunk, approved = approved[:size], approved[size:]
            self._push_all(chunk)

    def _push_all(self, changes: Sequence[Change]) -> None:
        """Push some changes, on a state of the account that is never older than ``FRESH``."""
        remaining = list(changes)
        steps: list[Step] = []
        while remaining:
            if not steps or self._is_stale():
                steps = self._plan(remaining)
            if self._attempt(steps.pop(0)):
                remaining.pop(0)
            else:
                remaining[0] = self._session.ledger.change(remaining[0].change_id)
                steps = []

    def _plan(self, changes: Sequence[Change]) -> list[Step]:
        """Read the account's state, and return a step for each change to push."""
        account = self._session.account_state(changes)
        self._read_at = account.read_at
        return self._session.plan(changes, account)

    def _is_stale(self) -> bool:
        """Return whether the account's state is too old to push on."""
        return time.monotonic() - self._read_at > FRESH

    def _attempt(self, step: Step) -> bool:
        """Execute a step of a push; return False if its change must be planned and tried again."""
        try:
            self._execute(step)
        except (_StaleState, KantataThrottled, KantataNeverArrived) as error:
            self._failures += 1
            most = STALE_ATTEMPTS if isinstance(error, _StaleState) else ATTEMPTS
            if self._failures < most and not is_long_wait(error):
                if not isinstance(error, _StaleState):
                    self._delivery.back_off(error, self._failures)
                return False
            self._give_up(step.change, error)
        self._failures = 0
        return True

    def _execute(self, step: Step) -> None:
        """Execute a step of a push: write, finish or defer its change."""
        match step:
            case Write():
                self._write(step)
            case NoOp(change, why, milestone_id):
                self._finish_unsent(change, Status.APPLIED, why, milestone_id)
            case Conflict(change, why):
                self._finish_unsent(change, Status.CONFLICT, why, change.milestone_id)
            case Deferred(change, why):
                self._session.defer(change, why)

    def _finish_unsent(
        self, change: Change, status: Status, why: str, milestone_id: str | None
    ) -> None:
        """Finish a change without sending it in this push, unless a person withdrew it."""
        try:
            taken = self._session.transition(change, Status.APPLYING, why)
        except ChangeRefused:
            return  # a person withdrew it; the push lock is ours, so no push can have moved it
        self._delivery.finish(taken, Settlement(status=status, why=why, milestone_id=milestone_id))

    def _write(self, step: Write) -> None:
        """Push a change: send it, unless it is no longer approved or the state is too old.

        Raises:
            _StaleState, KantataThrottled, KantataNeverArrived: The change is approved again, and
                may be tried again.
            KantataUnauthorized: The same, but every other change would fail, too.
            KantataOutcomeUnknown, KantataForbidden: Too many changes in a row ended like this.
        """
        self._delivery.wait_turn()
        if self._is_stale():
            raise _StaleState
        try:
            change = self._mark_sending(step)
        except ChangeRefused:
            return  # a person withdrew it
        if why := untrusted_changes(self._session.ledger, [change]).get(change.change_id):
            self._delivery.finish(change, result_of(change, Status.CONFLICT, why))
            return
        if self._is_stale():  # writing to the ledger may have taken long
            why = "its milestone was read too long before it could be sent: it is read again"
            self._session.transition(change, Status.APPROVED, why)
            raise _StaleState
        self._delivery.send(change)

    def _mark_sending(self, step: Write) -> Change:
        """Record in the ledger that the push is about to send a change."""
        return self._session.ledger.mark_sending(
            step.change,
            who=ACTOR,
            what=_describe(step.change),
            at=self._session.now(),
            twins=step.duplicates,
            seen_updated_at=step.seen_updated_at,
        )

    def _give_up(self, change: Change, error: Exception) -> None:
        """Leave a change approved, to the next push.

        Raises:
            KantataUnavailable: If it would fail for any other change, too.
        """
        if not isinstance(error, KantataUnavailable):
            error = KantataUnavailable(
                f"the state of its milestone was older than {FRESH:.0f} s when it could be sent: "
                "Kantata answers slowly, or requests_per_second is too low. Push again later, or "
                "raise requests_per_second"
            )
        self._session.defer(change, str(error))
        if isinstance(error, KantataThrottled) or self._delivery.streak.add(type(error).__name__):
            raise error


def _describe(change: Change) -> str:
    """Return what the push is about to send for a change, as text for the audit."""
    fields = ", ".join(f"{name}={value!r}" for name, value in change.after.items())
    return f"sending {change.action} of {change.milestone_id or 'a milestone'} {fields}".strip()
