"""Delivering changes of a push: each is sent once, and its result recorded in the ledger."""

from __future__ import annotations

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
from .failure_streak import IN_A_ROW, FailureStreak
from .push_session import PushSession
from .settlement import Settlement, settle_refused


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

    def send(self, change: Change) -> None:
        """Deliver a change once in this push, and record its result.

        Raises:
            KantataThrottled, KantataNeverArrived: The change is approved again, and may be tried
                again.
            KantataUnauthorized: The same, but every other change would fail, too.
            KantataOutcomeUnknown, KantataForbidden: Too many changes in a row ended like this.
        """
        try:
            milestone_id = _send_once(change, self._writer)
        except (KantataThrottled, KantataNeverArrived, KantataUnauthorized) as error:
            if isinstance(error, KantataThrottled) and change.action is Action.CREATE:
                self._record_throttled(change, error)
                return
            self._session.transition(change, Status.APPROVED, str(error), self._request_id)
            raise
        except KantataRefused as error:
            self._record_refusal(change, error)
        except KantataOutcomeUnknown as error:
            unknown = result_of(change, Status.UNKNOWN, str(error))
            self.finish(change, unknown, request_id=self._request_id)
            if self.streak.add("unknown"):
                raise
        else:
            self.finish(change, _done(change, milestone_id), request_id=self._request_id)
            self.streak.end()

    def _record_throttled(self, change: Change, error: KantataThrottled) -> None:
        """Record that a pushed create was throttled: it may have been executed all the same.

        Raises:
            KantataUnavailable: If too many changes in a row were throttled, or for long.
        """
        unknown = result_of(
            change, Status.UNKNOWN, f"{error}; a later push looks for it before it sends it again"
        )
        looked_at = resend.throttled_at(change)
        self.finish(change, unknown, request_id=self._request_id, looked_at=looked_at)
        self.back_off(error)
        if is_long_wait(error) or self.streak.add("throttled"):
            raise KantataUnavailable(str(error))

    def _record_refusal(self, change: Change, error: KantataRefused) -> None:
        """Read back whether a pushed change that Kantata refused was applied; record the result.

        Raises:
            KantataForbidden: If too many changes in a row were forbidden.
            KantataError: If it cannot be read back; the change is unknown then.
        """
        refusal, request_id = str(error), self._request_id
        try:
            account = self._session.account_state([change])
        except KantataError as lost:
            why = f"{refusal}; the result cannot be read back: {lost}"
            unknown = result_of(change, Status.UNKNOWN, why)
            self.finish(change, unknown, request_id=request_id)
            raise
        self.finish(change, settle_refused(change, refusal, account), request_id=request_id)
        if self.streak.add("forbidden" if error.status == 403 else ""):
            raise KantataForbidden(
                f"{refusal}, {IN_A_ROW} times in a row. Check that the user of the write token may "
                "edit milestones. The other changes stay approved."
            )

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


def _send_once(change: Change, writer: KantataWriter) -> str:
    """Send a change of the push to Kantata; return the id of its milestone."""
    if change.action is Action.CREATE:
        return writer.create(change.change_id, change.after)
    milestone_id = str(change.milestone_id)
    if change.action is Action.UPDATE:
        writer.update(milestone_id, change.after)
    else:
        writer.delete(milestone_id)
    return milestone_id
