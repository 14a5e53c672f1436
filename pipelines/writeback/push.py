"""Writing approved changes to Kantata: each at most once, and never over an edit that is seen."""

from __future__ import annotations

import time
from datetime import timedelta

from sources.kantata import KantataReader
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
from sources.kantata.settings import ATTEMPTS
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Action, Change, Status
from warehouse.ledger.store import Ledger

from .plan import Conflict, Deferred, NoOp, Step, Write, build_plan, settle
from .reconcile import ACTOR, CHANGES_PER_READ, Reconcile
from .result import PushResult

FRESH = 5.0  # seconds: a write rests on nothing that was read earlier
IN_A_ROW = 3  # changes that meet the same trouble, before the others are left for later
_NOT_APPROVED = "it is not what was approved"


class _TooOld(Exception):
    """What a write rests on was read too long ago; it was not sent."""


class Push(Reconcile):
    """One push, or one look at what it would do.

    Args:
        ledger: The changes; its lock must be held for all but ``plan``.
        reader: The door for reading.
        writer: The door for writing; None if nothing may be written.
        reconcile_after: How long an unknown is left alone, by Kantata's clock.
    """

    def __init__(
        self,
        ledger: Ledger,
        reader: KantataReader,
        writer: KantataWriter | None,
        reconcile_after: timedelta,
    ) -> None:
        super().__init__(ledger, reader, reconcile_after)
        self._writer = writer
        self._read_at = 0.0
        self._trouble, self._in_a_row = "", 0
        self._decided = 0

    def push(self, most: int) -> PushResult:
        """Settle what is unknown, then write approved changes, at most so many."""
        with self._stopping():
            self._begin()
            self._reconcile()
            self._push_all(most)
        approved = {c.change_id for c in self._ledger.changes(frozenset({Status.APPROVED}))}
        self.result.more = len(approved - {c.change_id for c, _ in self.result.waiting})
        with self._stopping():
            self._verify()
        return self.result

    def _push_all(self, most: int) -> None:
        """Write approved changes, the oldest first; those that must wait do not count."""
        left = self._ledger.changes(frozenset({Status.APPROVED}))
        while left and self._decided < most:
            size = min(CHANGES_PER_READ, most - self._decided)
            chunk, left = left[:size], left[size:]
            self._push(chunk)

    def _push(self, chunk: list[Change]) -> None:
        """Write some changes; what they rest on is never older than ``FRESH``."""
        left = list(chunk)
        failures = 0
        steps: list[Step] = []
        while left:
            if not steps or self._is_old():
                live = self._live(left)
                steps, self._read_at = build_plan(left, live), live.read_at
            step = steps.pop(0)
            try:
                self._take(step)
            except (_TooOld, KantataThrottled, KantataNeverArrived) as error:
                failures += 1
                if failures < (2 if isinstance(error, _TooOld) else ATTEMPTS):
                    self._back_off(error, failures)
                    left[0] = self._ledger.change(left[0].change_id)
                    steps = []
                    continue
                self._give_up(left[0], error)
            failures = 0
            left.pop(0)

    def _take(self, step: Step) -> None:
        match step:
            case Write():
                self._write(step)
            case NoOp(change, why, milestone_id):
                self._decide(change, Status.APPLIED, why, milestone_id)
            case Conflict(change, why):
                self._decide(change, Status.CONFLICT, why, change.milestone_id)
            case Deferred(change, why):
                self._wait(change, why)

    def _decide(self, change: Change, status: Status, why: str, milestone_id: str | None) -> None:
        """End a change without sending it."""
        try:
            taken = self._move(change, Status.APPLYING, why)
        except ChangeRefused:
            return  # withdrawn a moment ago; the lock is ours, so nobody else can have moved it
        self._decided += 1
        self._done(taken, status, why, milestone_id)

    def _write(self, step: Write) -> None:
        """Send one change, and note what came back.

        Raises:
            _TooOld, KantataThrottled, KantataNeverArrived: It is approved again, and may be sent
                again.
            KantataUnauthorized: The same, and no other change would do better.
            KantataOutcomeUnknown, KantataForbidden: As that of too many before it.
        """
        assert self._writer is not None  # noqa: S101 - only `plan` and `reconcile` do without one
        self._writer.wait_turn()
        if self._is_old():
            raise _TooOld
        change = step.change
        try:
            sent = self._ledger.mark_sending(
                change, who=ACTOR, what=_describe(change), at=self._now(), twins=step.twins,
                seen_updated_at=step.seen_updated_at,
            )  # fmt: skip
        except ChangeRefused:
            return  # withdrawn a moment ago
        if not sent.digest == sent.approved_digest == change.approved_digest:
            self._decided += 1
            self._done(sent, Status.CONFLICT, _NOT_APPROVED, sent.milestone_id)
            return
        if self._is_old():  # the ledger may have kept us waiting
            self._move(sent, Status.APPROVED, "what it rests on grew too old before it was sent")
            raise _TooOld
        self._sent(sent, self._writer)

    def _sent(self, sent: Change, writer: KantataWriter) -> None:
        try:
            milestone_id = _send(sent, writer)
        except (KantataThrottled, KantataNeverArrived, KantataUnauthorized) as error:
            self._move(sent, Status.APPROVED, str(error), self._request_id)
            raise
        except KantataRefused as error:
            self._decided += 1
            self._refused(sent, error)
        except KantataOutcomeUnknown as error:
            self._decided += 1
            self._done(sent, Status.UNKNOWN, str(error), sent.milestone_id, self._request_id)
            if self._again("unknown"):
                raise
        else:
            self._decided += 1
            what = f"done: milestone {milestone_id}" if sent.action is Action.CREATE else "done"
            self._done(sent, Status.APPLIED, what, milestone_id, self._request_id)
            self._again("")

    def _refused(self, change: Change, error: KantataRefused) -> None:
        """Kantata says no; read back all the same whether it did it.

        Raises:
            KantataForbidden: If it said so to too many before.
            KantataError: If it cannot be read back; then it is unknown.
        """
        request_id, said = self._request_id, str(error)
        try:
            live = self._live([change])
        except KantataError as lost:
            why = f"{said}; and it cannot be read back: {lost}"
            self._done(change, Status.UNKNOWN, why, change.milestone_id, request_id)
            raise
        found = settle(change, live)
        if found is None:
            why = f"{said}; and it cannot be read back: {live.why_unknown(change)}"
            self._done(change, Status.UNKNOWN, why, change.milestone_id, request_id)
        elif found[0] is Status.APPROVED:
            self._done(change, Status.FAILED, said, change.milestone_id, request_id)
        else:
            self._done(change, found[0], f"{said}; {found[1]}", found[2], request_id)
        if self._again("forbidden" if error.status == 403 else ""):
            raise KantataForbidden(
                f"{said}, {IN_A_ROW} times in a row: may the user of the token for writing write "
                "milestones? The other changes stay approved."
            )

    def _is_old(self) -> bool:
        return time.monotonic() - self._read_at > FRESH

    def _back_off(self, error: Exception, failures: int) -> None:
        if isinstance(error, _TooOld):
            return
        wait = error.retry_after if isinstance(error, KantataThrottled) else None
        self._reader.pace.hold(self._reader.backoff(failures) if wait is None else wait)

    def _give_up(self, change: Change, error: Exception) -> None:
        """Leave a change approved, for the next push."""
        if not isinstance(error, KantataUnavailable):
            error = KantataUnavailable(
                f"what was read is older than {FRESH:.0f} s whenever it could be sent: Kantata is "
                "slow to answer, or requests_per_second is too low"
            )
        self._wait(change, str(error))
        if isinstance(error, KantataThrottled) or self._again(type(error).__name__):
            raise error

    def _again(self, trouble: str) -> bool:
        """Note what a write met; whether it was that too many times in a row."""
        self._in_a_row = self._in_a_row + 1 if trouble == self._trouble else 1
        self._trouble = trouble
        return bool(trouble) and self._in_a_row >= IN_A_ROW

    @property
    def _request_id(self) -> str | None:
        return (self._writer.request_id or None) if self._writer else None


def _send(change: Change, writer: KantataWriter) -> str | None:
    if change.action is Action.CREATE:
        return writer.create(change.change_id, change.after)
    id_ = str(change.milestone_id)
    if change.action is Action.UPDATE:
        writer.update(id_, change.after)
    else:
        writer.delete(id_)
    return id_


def _describe(change: Change) -> str:
    fields = ", ".join(f"{name}={value!r}" for name, value in change.after.items())
    return f"sending {change.action} of {change.milestone_id or 'a milestone'} {fields}".strip()
