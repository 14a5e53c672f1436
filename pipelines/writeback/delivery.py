"""Delivering changes of a push: each is sent once, and its result recorded."""

from __future__ import annotations

from collections.abc import Sequence

from sources.kantata.api.batch_answer import BatchAnswer
from sources.kantata.api.reader import is_long_wait
from sources.kantata.api.writer import KantataWriter
from sources.kantata.errors import (
    KantataError,
    KantataForbidden,
    KantataNeverArrived,
    KantataOutcomeUnknown,
    KantataRefused,
    KantataThrottled,
    KantataUnauthorized,
    KantataUnavailable,
)
from warehouse.ledger.change import Action, Change, Status

from . import resend
from .account_state import AccountState
from .failure_streak import IN_A_ROW, FailureStreak
from .push_session import PushSession
from .settlement import Settlement, settle_refused, settle_refused_batch, settle_throttled


class Delivery:
    """Delivers changes that the ledger marks as being sent.

    Args:
        session: An open session.
        writer: Writes to the account.
    """

    def __init__(self, session: PushSession, writer: KantataWriter) -> None:
        self._session = session
        self._writer = writer
        #: How many changes were finished, of which some were never sent.
        self.decided = 0
        self.streak = FailureStreak()

    def wait_turn(self) -> None:
        """Wait until the rate limiter allows the delivery; it must begin at once then."""
        self._writer.wait_turn()

    def finish(
        self,
        change: Change,
        settlement: Settlement,
        *,
        request_id: str | None = None,
        **columns: object,
    ) -> None:
        """Finish a change with its settlement, and count it as decided in this push."""
        self.decided += 1
        self._session.finish(change, settlement, request_id=request_id, **columns)

    def send(self, changes: Sequence[Change]) -> None:
        """Deliver changes once in this push, with one request, and record their results.

        Args:
            changes: One change, or several creates.

        Raises:
            KantataThrottled: The update or delete is still marked as being sent:
                ``settle_throttled`` finds out whether it may be tried again.
            KantataNeverArrived: The changes are approved again, and may be tried again.
            KantataUnauthorized: The same, but every other change would fail, too.
            KantataOutcomeUnknown, KantataForbidden: Too many changes in a row ended like this.
        """
        try:
            answer = _send_once(changes, self._writer)
        except KantataThrottled as error:
            if changes[0].action is not Action.CREATE:
                raise
            self._record_throttled(changes, error)
        except (KantataNeverArrived, KantataUnauthorized) as error:
            for change in changes:
                self._session.transition(change, Status.APPROVED, str(error), self._request_id)
            raise
        except KantataOutcomeUnknown as error:
            self._record_unknown(changes, str(error))
            if any(self.streak.add("unknown") for _ in changes):
                raise
        else:
            self._record_answer(changes, answer)

    def settle_throttled(self, change: Change, error: Exception) -> None:
        """Read back whether a delivered update or delete that was throttled was applied; record it.

        It is approved again if it was not.

        Raises:
            KantataError: If it cannot be read back; the change is unknown then.
        """
        request_id = self._request_id
        try:
            account = self._session.account_state([change])
        except KantataError as lost:
            self._record_unknown([change], f"{error}; the result cannot be read back: {lost}")
            raise
        settlement = settle_throttled(change, str(error), account)
        if settlement.status is Status.APPROVED:
            self._session.transition(change, settlement.status, settlement.why, request_id)
        else:
            self.finish(change, settlement, request_id=request_id)

    def _record_answer(self, changes: Sequence[Change], answer: BatchAnswer) -> None:
        """Record the results of delivered changes that Kantata answered.

        Raises:
            KantataOutcomeUnknown: If it does not name any of several creates.
            KantataError: As ``_record_refusal``.
        """
        written = [change for change in changes if change.change_id in answer.written]
        others = [change for change in changes if change.change_id not in answer.written]
        with self._session.ledger.transaction():
            for change in written:
                done = _done(change, answer.written[change.change_id])
                self.finish(change, done, request_id=self._request_id)
                self.streak.end()
        if not others:
            return
        if answer.refusal is not None:
            self._record_refusal(others, answer, answer.refusal)
            return
        why = "Kantata accepted it in a batch, but does not say which milestone it created"
        self._record_unknown(others, why)
        if not written and any(self.streak.add("unknown") for _ in others):
            raise KantataOutcomeUnknown(why)

    def _record_unknown(self, changes: Sequence[Change], why: str, **columns: object) -> None:
        """Record that the outcome of delivered changes is unknown."""
        with self._session.ledger.transaction():
            for change in changes:
                unknown = result_of(change, Status.UNKNOWN, why)
                self.finish(change, unknown, request_id=self._request_id, **columns)

    def _record_throttled(self, changes: Sequence[Change], error: KantataThrottled) -> None:
        """Record that delivered creates were throttled: they may have been executed all the same.

        Raises:
            KantataUnavailable: If too many requests in a row were throttled, or for long.
        """
        why = f"{error}; a later push looks for it before it sends it again"
        with self._session.ledger.transaction():
            for change in changes:
                self._record_unknown([change], why, looked_at=resend.throttled_at(change))
        if is_long_wait(error) or self.streak.add("throttled"):
            raise KantataUnavailable(str(error))
        self.back_off(error)

    def _record_refusal(
        self, changes: Sequence[Change], answer: BatchAnswer, refusal: KantataRefused
    ) -> None:
        """Read back whether delivered changes that Kantata refused were applied; record it.

        Raises:
            KantataForbidden: If too many changes in a row were forbidden.
            KantataError: If they cannot be read back; the changes are unknown then.
        """
        request_id = self._request_id
        try:
            account = self._session.account_state(changes)
        except KantataError as lost:
            self._record_unknown(changes, f"{refusal}; the result cannot be read back: {lost}")
            raise
        for change in changes:
            if why := answer.refused.get(change.change_id):
                self.finish(change, settle_refused(change, why, account), request_id=request_id)
            else:
                self._record_refused_with_others(change, str(refusal), account)
        if any(self.streak.add("forbidden" if refusal.status == 403 else "") for _ in changes):
            raise KantataForbidden(
                f"{refusal}, {IN_A_ROW} times in a row. Check that the user of the write token may "
                "edit milestones. The other changes stay approved."
            )

    def _record_refused_with_others(
        self, change: Change, refusal: str, account: AccountState
    ) -> None:
        """Record a delivered create of a batch that was refused, perhaps because of another one.

        That it was not found now is the first of the two looks before it is sent again.
        """
        settlement = settle_refused_batch(change, refusal, account)
        looked = settlement.status is Status.UNKNOWN and not account.why_unknown(change)
        columns = {"looked_at": resend.look_at(change, self._session.now()).isoformat()}
        self.finish(change, settlement, request_id=self._request_id, **(columns if looked else {}))

    def back_off(self, error: Exception, failures: int = 0) -> None:
        """Pause the push's requests for as long as Kantata says, or longer after each failure."""
        wait = error.retry_after if isinstance(error, KantataThrottled) else None
        reader = self._session.reader
        reader.pace.hold(wait or reader.backoff(failures))

    @property
    def _request_id(self) -> str | None:
        """Return Kantata's id of the push's last request; None if no answer came."""
        return self._writer.request_id or None


def result_of(change: Change, status: Status, why: str) -> Settlement:
    """Return the settlement of a pushed change, with the milestone that the change names."""
    return Settlement(status=status, why=why, milestone_id=change.milestone_id)


def _done(change: Change, milestone_id: str) -> Settlement:
    """Return the settlement of a change that the push applied."""
    why = f"done: milestone {milestone_id}" if change.action is Action.CREATE else "done"
    return Settlement(status=Status.APPLIED, why=why, milestone_id=milestone_id)


def _send_once(changes: Sequence[Change], writer: KantataWriter) -> BatchAnswer:
    """Deliver one change, or a batch of creates, to Kantata; return the answer."""
    if len(changes) > 1:
        return writer.create_batch({change.change_id: change.after for change in changes})
    (change,) = changes
    try:
        return BatchAnswer(written={change.change_id: _send_alone(change, writer)})
    except KantataRefused as error:
        refused = {change.change_id: str(error)}
        return BatchAnswer(written={}, refused=refused, refusal=error)


def _send_alone(change: Change, writer: KantataWriter) -> str:
    """Send a change of the push to Kantata; return the id of its milestone."""
    if change.action is Action.CREATE:
        return writer.create(change.change_id, change.after)
    milestone_id = str(change.milestone_id)
    if change.action is Action.UPDATE:
        writer.update(milestone_id, change.after)
    else:
        writer.delete(milestone_id)
    return milestone_id
