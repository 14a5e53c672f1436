"""Writing approved changes to Kantata: each at most once, and never over an edit that is seen."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TypeVar

from sources.kantata import KantataReader
from sources.kantata.errors import (
    KantataError,
    KantataNeverArrived,
    KantataOutcomeUnknown,
    KantataRefused,
    KantataThrottled,
    KantataUnauthorized,
    KantataUnavailable,
)
from sources.kantata.settings import ATTEMPTS, ONLY_PER_REQUEST
from sources.kantata.writer import KantataWriter
from warehouse.change import Action, Change, Status
from warehouse.errors import ChangeRefused, WarehouseError
from warehouse.ledger import Ledger

from .live import read_live, read_milestones
from .plan import Conflict, Later, NoOp, Seen, Step, Write, build_plan, differences, settle

_T = TypeVar("_T")
WHO = "milestones push"
READ_AT_ONCE = 20  # changes
FRESH = 5.0  # seconds: a write rests on nothing that was read earlier
IN_A_ROW = 3  # changes that never arrived, before the others are left for later


@dataclass
class Pushed:
    """What a push did.

    Args:
        changes: Changes it decided on, as they are now.
        waiting: Changes it left, and why.
        doubts: What a person should look at, besides.
        stopped: Why it ended early; None if it did not.
    """

    changes: list[Change] = field(default_factory=list)
    waiting: list[tuple[Change, str]] = field(default_factory=list)
    doubts: list[str] = field(default_factory=list)
    stopped: KantataError | WarehouseError | None = None

    @property
    def touched(self) -> frozenset[str]:
        """Milestones that may be different now."""
        return frozenset(c.milestone_id for c in self.changes if c.milestone_id)

    @property
    def needs(self) -> list[str]:
        """What it leaves to a person, a line each."""
        lines = [
            f"change {c.change_id} is {c.status}: {c.outcome}"
            for c in self.changes
            if c.status in (Status.CONFLICT, Status.FAILED, Status.UNKNOWN)
        ]
        return (
            lines + [f"change {c.change_id} waits: {why}" for c, why in self.waiting] + self.doubts
        )

    @property
    def exit_code(self) -> int:
        """0; 3 if something needs a person; that of what stopped it."""
        if self.stopped is not None:
            return self.stopped.exit_code
        return 3 if self.needs else 0


class Push:
    """One push, or one look at what it would do.

    Args:
        ledger: The changes; its lock must be held for all but ``plan``.
        reader: The door for reading.
        writer: The door for writing; None if nothing may be written.
        reconcile_after: How long an unknown is left alone.
    """

    def __init__(
        self,
        ledger: Ledger,
        reader: KantataReader,
        writer: KantataWriter | None,
        reconcile_after: timedelta,
    ) -> None:
        self._ledger = ledger
        self._reader = reader
        self._writer = writer
        self._reconcile_after = reconcile_after
        self._unarrived = 0
        self.result = Pushed()

    def plan(self, most: int) -> list[Step]:
        """What would be done with the approved changes now."""
        steps: list[Step] = []
        for chunk in _chunks(self._approved(most), READ_AT_ONCE):
            steps += build_plan(chunk, read_live(self._reader, chunk))
        return steps

    def reconcile(self) -> Pushed:
        """Find out what became of changes that may have been written."""
        for change in self._ledger.changes(frozenset({Status.APPLYING})):
            # The lock is ours, so whoever was at it is dead.
            self._move(change, Status.UNKNOWN, "the process that sent it ended before the answer")
        due = []
        for change in self._ledger.changes(frozenset({Status.UNKNOWN})):
            if change.sent_at and self._ledger.now() - change.sent_at < self._reconcile_after:
                at = change.sent_at + self._reconcile_after
                self._wait(change, f"Kantata may still be at it until {at:%H:%M:%S} UTC")
            else:
                due.append(change)
        with self._stopping():
            for chunk in _chunks(due, READ_AT_ONCE):
                live = read_live(self._reader, chunk)
                for change in chunk:
                    if (found := settle(change, live)) is None:
                        reasons = live.unreadable
                        why = reasons.get(str(change.milestone_id))
                        self._wait(change, why or reasons.get(change.workspace_id, "unreadable"))
                    else:
                        self._done(change, *found)
        return self.result

    def push(self, most: int) -> Pushed:
        """Settle what is unknown, then write approved changes, at most so many."""
        self.reconcile()
        if self.result.stopped is None:
            with self._stopping():
                for chunk in _chunks(self._approved(most), READ_AT_ONCE):
                    self._push(chunk)
        with self._stopping():
            self._verify()
        return self.result

    def _approved(self, most: int) -> list[Change]:
        return self._ledger.changes(frozenset({Status.APPROVED}))[:most]

    def _push(self, chunk: list[Change]) -> None:
        """Write some changes; what they rest on is never older than ``FRESH``."""
        left = list(chunk)
        failures = 0
        steps: list[Step] = []
        read_at = 0.0
        while left:
            if not steps or time.monotonic() - read_at > FRESH:
                steps = build_plan(left, read_live(self._reader, left))
                read_at = time.monotonic()
            step = steps.pop(0)
            try:
                self._take(step)
            except (KantataThrottled, KantataNeverArrived) as error:
                failures += 1
                self._back_off(error, failures)
                if failures < ATTEMPTS:
                    left[0] = self._ledger.change(left[0].change_id)
                    steps = []
                    continue
                self._give_up(left[0], error)
            except ChangeRefused:
                pass  # withdrawn a moment ago; the lock is ours, so nobody else can have moved it
            else:
                self._unarrived = 0
            failures = 0
            left.pop(0)

    def _take(self, step: Step) -> None:
        match step:
            case Write(change, twins):
                self._write(change, twins)
            case NoOp(change, why, milestone_id):
                self._done(
                    self._move(change, Status.APPLYING, why), Status.APPLIED, why, milestone_id
                )
            case Conflict(change, why):
                self._done(
                    self._move(change, Status.APPLYING, why), Status.CONFLICT, why,
                    change.milestone_id,
                )  # fmt: skip
            case Later(change, why):
                self._wait(change, why)

    def _write(self, change: Change, twins: Sequence[str]) -> None:
        """Send one change, and note what came back.

        Raises:
            KantataThrottled, KantataNeverArrived: It is approved again, and may be sent again.
            KantataUnauthorized: The same, and no other change would do better.
        """
        sent = self._ledger.sending(change, WHO, _described(change), twins)
        try:
            milestone_id = self._send(sent)
        except (KantataThrottled, KantataNeverArrived, KantataUnauthorized) as error:
            self._move(sent, Status.APPROVED, str(error), self._request_id)
            raise
        except KantataRefused as error:
            self._refused(sent, str(error))
        except KantataOutcomeUnknown as error:
            self._done(sent, Status.UNKNOWN, str(error), sent.milestone_id, self._request_id)
        else:
            self._done(sent, Status.APPLIED, "done", milestone_id, self._request_id)

    def _send(self, change: Change) -> str | None:
        assert self._writer is not None  # noqa: S101 - only `plan` and `reconcile` do without one
        if change.action is Action.CREATE:
            return self._writer.create(change.change_id, change.after)
        id_ = str(change.milestone_id)
        if change.action is Action.UPDATE:
            self._writer.update(id_, change.after)
        else:
            self._writer.delete(id_)
        return id_

    def _refused(self, change: Change, said: str) -> None:
        """Kantata says no; read back all the same whether it did it."""
        request_id = self._request_id
        try:
            found = settle(change, read_live(self._reader, [change]))
        except KantataError as error:
            why = f"{said}; and it cannot be read back: {error}"
            self._done(change, Status.UNKNOWN, why, change.milestone_id, request_id)
            raise
        if found is not None and found[0] is Status.APPLIED:
            self._done(change, Status.APPLIED, f"{said}; {found[1]}", found[2], request_id)
        else:
            self._done(change, Status.FAILED, said, change.milestone_id, request_id)

    def _verify(self) -> None:
        """Read what was written once more, and compare it with what was asked."""
        written = {
            c.milestone_id: c
            for c in self.result.changes
            if c.status is Status.APPLIED and c.milestone_id
        }
        for ids in _chunks(list(written), ONLY_PER_REQUEST):
            found = read_milestones(self._reader, ids)
            for id_ in ids:
                change = written[id_]
                if wrong := _wrong(change, found.get(id_)):
                    self._ledger.remark(change, WHO, wrong)
                    self.result.doubts.append(f"change {change.change_id}: {wrong}")

    def _back_off(self, error: KantataUnavailable, failures: int) -> None:
        wait = error.retry_after if isinstance(error, KantataThrottled) else None
        self._reader.pace.hold(self._reader.backoff(failures) if wait is None else wait)

    def _give_up(self, change: Change, error: KantataUnavailable) -> None:
        """Leave a change approved, for the next push."""
        self._wait(change, str(error))
        if isinstance(error, KantataThrottled):
            raise error
        self._unarrived += 1
        if self._unarrived >= IN_A_ROW:
            raise error

    def _stopping(self) -> _Stopping:
        return _Stopping(self.result)

    @property
    def _request_id(self) -> str | None:
        return (self._writer.request_id or None) if self._writer else None

    def _wait(self, change: Change, why: str) -> None:
        self.result.waiting.append((change, why))

    def _move(
        self, change: Change, status: Status, why: str, request_id: str | None = None
    ) -> Change:
        return self._ledger.move(change, status, WHO, why, request_id)

    def _done(
        self,
        change: Change,
        status: Status,
        why: str,
        milestone_id: str | None,
        request_id: str | None = None,
    ) -> None:
        moved = self._ledger.move(change, status, WHO, why, request_id, milestone_id=milestone_id)
        if status is not Status.APPROVED:
            self.result.changes.append(moved)


class _Stopping:
    """Notes what of Kantata's ends a push early, so that the rest of it can go on."""

    def __init__(self, result: Pushed) -> None:
        self._result = result

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, KantataError):
            return False
        self._result.stopped = self._result.stopped or error
        return True


def _wrong(change: Change, seen: Seen | None) -> str:
    """What is not as asked after it was applied, in words."""
    if change.action is Action.DELETE:
        return "deleted, and still there when read again" if seen is not None else ""
    if seen is None:
        return "written, and not there when read again"
    wrong = differences(change, seen.image)
    return f"written, and when read again {wrong}" if wrong else ""


def _described(change: Change) -> str:
    fields = ", ".join(f"{name}={value!r}" for name, value in change.after.items())
    return f"sending {change.action} of {change.milestone_id or 'a milestone'} {fields}".strip()


def _chunks(items: Sequence[_T], size: int) -> list[list[_T]]:
    return [list(items[n : n + size]) for n in range(0, len(items), size)]
