"""Pushing: writing approved changes to Kantata, each at most once, never over a known edit."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import suppress

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

from .batches import first_batch, make_equal, next_changes
from .delivery import Delivery, result_of
from .plan import Conflict, Deferred, NoOp, Step, Write
from .push_session import ACTOR, PushSession
from .reconcile import Reconciler
from .result import PushResult
from .settlement import Settlement
from .verify import verify

FRESH = 5.0  # seconds: no write relies on a state that was read earlier
STALE_ATTEMPTS = 2  # attempts at a change whose state is too old when it could be sent


class _StaleState(Exception):
    """The account's state was read too long ago, so the change was not sent."""


def push(
    session: PushSession, writer: KantataWriter, max_changes: int, *, batch_creates: int = 1
) -> PushResult:
    """Push the ledger's changes: settle unknown ones, write approved ones, verify those written.

    Args:
        session: A new session. The push lock of its ledger must be held.
        writer: Writes to the account.
        max_changes: The most changes that this push may decide on.
        batch_creates: The most creates that it may send with one request.

    Raises:
        WarehouseError: If the ledger cannot be used or belongs to another account.
    """
    with session.recording_errors():
        session.open()
        Reconciler(session).settle()
        Pusher(session, writer, batch_creates).run(max_changes)
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
        batch_creates: The most creates that share a request; 1 for no batches.
    """

    def __init__(self, session: PushSession, writer: KantataWriter, batch_creates: int = 1) -> None:
        self._session = session
        self._delivery = Delivery(session, writer)
        self._batch_creates = batch_creates
        self._read_at = 0.0
        self._failures = 0  # of the current change or batch

    def run(self, max_changes: int) -> None:
        """Push approved changes, the oldest first; those that must wait do not count.

        Raises:
            KantataError: If it would fail for any other change, too.
        """
        approved = self._session.changes(Status.APPROVED)
        while approved and self._delivery.decided < max_changes:
            most = max_changes - self._delivery.decided
            some = next_changes(approved, most=most, batch_creates=self._batch_creates)
            approved = approved[len(some) :]
            self._push_all(some)

    def _push_all(self, changes: Sequence[Change]) -> None:
        """Push some changes, on a state of the account that is never older than ``FRESH``."""
        remaining = list(changes)
        steps: list[Step] = []
        while remaining:
            if not steps or self._is_stale():
                steps = self._plan(remaining)
            batch = first_batch(steps, self._batch_creates)
            size = len(batch)
            remaining[:size] = again = self._attempt(batch)
            is_outdated = again or make_equal([step.change for step in batch], remaining)
            steps = [] if is_outdated else steps[size:]

    def _plan(self, changes: Sequence[Change]) -> list[Step]:
        """Read the account's state, and return a step for each change to push."""
        account = self._session.account_state(changes)
        self._read_at = account.read_at
        return self._session.plan(changes, account)

    def _is_stale(self) -> bool:
        """Return whether the account's state is too old to push on."""
        return time.monotonic() - self._read_at > FRESH

    def _attempt(self, batch: Sequence[Step]) -> list[Change]:
        """Execute a step or batch of a push; return the changes to plan and try again."""
        try:
            self._execute(batch)
        except (_StaleState, KantataThrottled, KantataNeverArrived) as error:
            tries_again = self._tries_again(error, len(batch))
            changes = self._still_approved(batch, error)
            if tries_again and changes:
                return changes
            if not tries_again:
                self._give_up(changes, error)
        self._failures = 0
        return []

    def _still_approved(self, steps: Sequence[Step], error: Exception) -> list[Change]:
        """Return the changes of a push's failed steps as they are now, if they are approved.

        A change that was throttled may have been written all the same: it is read back first.
        """
        approved = []
        for step in steps:
            change = self._session.ledger.change(step.change.change_id)
            if change.status is Status.APPLYING:
                self._delivery.settle_throttled(change, error)
                change = self._session.ledger.change(change.change_id)
            if change.status is Status.APPROVED:
                approved.append(change)
        return approved

    def _tries_again(self, error: Exception, size: int) -> bool:
        """Return whether a push tries a step or batch of this size again after an error."""
        if isinstance(error, _StaleState) and size > 1:
            self._batch_creates = size // 2  # writing so many to the ledger takes too long
            return True
        self._failures += 1
        most = STALE_ATTEMPTS if isinstance(error, _StaleState) else ATTEMPTS
        if self._failures >= most or is_long_wait(error):
            return False
        if not isinstance(error, _StaleState):
            self._delivery.back_off(error, self._failures)
        return True

    def _execute(self, batch: Sequence[Step]) -> None:
        """Execute a step or batch of a push: write, finish or defer its changes."""
        if writes := [step for step in batch if isinstance(step, Write)]:
            self._write(writes)
            return
        for step in batch:
            match step:
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

    def _write(self, writes: Sequence[Write]) -> None:
        """Push changes with one request, but those that are no longer approved or trusted.

        Raises:
            _StaleState, KantataNeverArrived: The changes are approved again, and may be tried
                again.
            KantataThrottled: The update or delete is still marked as being sent.
            KantataUnauthorized: The same, but every other change would fail, too.
            KantataOutcomeUnknown, KantataForbidden: Too many changes in a row ended like this.
        """
        self._delivery.wait_turn()
        if self._is_stale():
            raise _StaleState
        changes = self._trusted(self._mark_sending(writes))
        if not changes:
            return
        if self._is_stale():  # writing to the ledger may have taken long
            why = "its milestone was read too long before it could be sent: it is read again"
            for change in changes:
                self._session.transition(change, Status.APPROVED, why)
            raise _StaleState
        self._delivery.send(changes)

    def _mark_sending(self, writes: Sequence[Write]) -> list[Change]:
        """Record in the ledger that the push is about to send changes; return those approved."""
        marked = []
        with self._session.ledger.transaction():
            for step in writes:
                with suppress(ChangeRefused):  # a person withdrew it
                    marked.append(
                        self._session.ledger.mark_sending(
                            step.change,
                            who=ACTOR,
                            what=_describe(step.change),
                            at=self._session.now(),
                            twins=step.duplicates,
                            seen_updated_at=step.seen_updated_at,
                        )
                    )
        return marked

    def _trusted(self, changes: Sequence[Change]) -> list[Change]:
        """Return the changes that the push may send; the others become conflicts."""
        untrusted = untrusted_changes(self._session.ledger, changes)
        for change in changes:
            if why := untrusted.get(change.change_id):
                self._delivery.finish(change, result_of(change, Status.CONFLICT, why))
        return [change for change in changes if change.change_id not in untrusted]

    def _give_up(self, changes: Sequence[Change], error: Exception) -> None:
        """Leave changes approved, to the next push.

        Raises:
            KantataUnavailable: If any other change would fail, too.
        """
        if not isinstance(error, KantataUnavailable):
            error = KantataUnavailable(
                f"the state of its milestone was older than {FRESH:.0f} s when it could be sent: "
                "Kantata answers slowly, or requests_per_second is too low. Push again later, or "
                "raise requests_per_second"
            )
        stops = isinstance(error, KantataThrottled)
        for change in changes:
            self._session.defer(change, str(error))
            stops = self._delivery.streak.add(type(error).__name__) or stops
        if stops:
            raise error


def _describe(change: Change) -> str:
    """Return what the push is about to send for a change, as text for the audit."""
    fields = ", ".join(f"{name}={value!r}" for name, value in change.after.items())
    return f"sending {change.action} of {change.milestone_id or 'a milestone'} {fields}".strip()
