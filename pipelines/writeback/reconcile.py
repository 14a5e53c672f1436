"""Finding out what became of changes that may have been written, and what a push would do.

Nothing here can write to Kantata.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TypeVar

from pipelines.config.account_binding import check_account
from sources.kantata import KantataReader
from sources.kantata.errors import KantataError
from sources.kantata.settings import ONLY_PER_REQUEST
from warehouse.ledger.change import Action, Change, Status, Units
from warehouse.ledger.store import Ledger

from .plan import (
    AccountState,
    Deferred,
    MilestoneState,
    Step,
    Write,
    build_plan,
    differences,
    expected,
    settle,
)
from .remote_state import read_account_state, read_milestones, read_minor_units
from .result import PushResult

_T = TypeVar("_T")
ACTOR = "milestones push"
CHANGES_PER_READ = 20  # changes
_CLOCK_TOLERANCE = timedelta(
    minutes=1
)  # a time of sending that is so far ahead was told by a wrong clock
_MAY_HAVE_BEEN_SENT = frozenset({Status.APPLYING, Status.UNKNOWN})


class Reconcile:
    """A ledger beside its account.

    Args:
        ledger: The changes; its lock must be held for all but ``plan``.
        reader: The door for reading.
        reconcile_after: How long an unknown is left alone, by Kantata's clock.
    """

    def __init__(self, ledger: Ledger, reader: KantataReader, reconcile_after: timedelta) -> None:
        self._ledger = ledger
        self._reader = reader
        self._reconcile_after = reconcile_after
        self._units: Units = {}
        self.result = PushResult()

    def plan(self, most: int) -> list[Step]:
        """What a push would do now; nothing is written, not even to the ledger.

        Raises:
            KantataError: If the account cannot be read.
            WarehouseMisconfigured: If the ledger belongs to another account.
        """
        self._begin(bind=False)
        steps: list[Step] = []
        for chunk in chunks(
            self._ledger.changes(_MAY_HAVE_BEEN_SENT | {Status.APPROVED}), CHANGES_PER_READ
        ):
            early = {c.change_id: why for c in chunk if (why := self._too_early(c))}
            due = [change for change in chunk if change.change_id not in early]
            planned = iter(build_plan(due, self._live(due)))
            steps += [
                Deferred(c, early[c.change_id]) if c.change_id in early else next(planned)
                for c in chunk
            ]
        return _limit(steps, most)

    def reconcile(self) -> PushResult:
        """Find out what became of changes that may have been written."""
        with self._stopping():
            self._begin()
            self._reconcile()
            self._verify()
        return self.result

    def _begin(self, bind: bool = True) -> None:
        check_account(self._ledger, self._reader, bind)
        self._units = read_minor_units(self._reader)

    def _reconcile(self) -> None:
        for change in self._ledger.changes(frozenset({Status.APPLYING})):
            # The lock is ours, so whoever was at it is dead.
            self._move(change, Status.UNKNOWN, "the process that sent it ended before the answer")
        due = []
        for change in self._ledger.changes(frozenset({Status.UNKNOWN})):
            if why := self._too_early(self._possible(change)):
                self._wait(change, why)
            else:
                due.append(change)
        for chunk in chunks(due, CHANGES_PER_READ):
            live = self._live(chunk)
            for change in chunk:
                if (found := settle(change, live)) is None:
                    self._wait(change, live.why_unknown(change))
                else:
                    self._done(change, *found)

    def _too_early(self, change: Change) -> str:
        """Why a change that may have been written must be left alone; empty if it need not be."""
        if change.status not in _MAY_HAVE_BEEN_SENT or change.sent_at is None:
            return ""
        until = change.sent_at + self._reconcile_after
        if not self._reconcile_after or self._now() >= until:
            return ""
        return f"Kantata may still be at it until {until:%H:%M:%S} UTC"

    def _possible(self, change: Change) -> Change:
        """The change; sent now, if it says that it was sent at a time that is still to come."""
        now = self._now()
        if change.sent_at is None or change.sent_at <= now + _CLOCK_TOLERANCE:
            return change
        why = (
            f"it was sent at {change.sent_at:%Y-%m-%d %H:%M:%S} UTC by a clock that was ahead of "
            "Kantata's: left alone from now on"
        )
        return self._ledger.correct_sent_at(change, now, who=ACTOR, what=why)

    def _now(self) -> datetime:
        """Kantata's time: machines that push may have clocks of different opinions."""
        return self._reader.server_now or self._ledger.now()

    def _verify(self) -> None:
        """Read what was written once more, and compare it with what was asked."""
        written = {
            c.milestone_id: c
            for c in self.result.changes
            if c.status is Status.APPLIED and c.milestone_id and c.attempts
        }
        for ids in chunks(list(written), ONLY_PER_REQUEST):
            found = read_milestones(self._reader, ids)
            for id_ in ids:
                change = written[id_]
                if wrong := _mismatch(change, found.get(id_), self._units):
                    self._ledger.add_remark(change, who=ACTOR, what=wrong)
                    self.result.doubts.append(f"change {change.change_id}: {wrong}")

    def _live(self, changes: list[Change]) -> AccountState:
        return read_account_state(self._reader, changes, self._units)

    def _stopping(self) -> _StopOnError:
        return _StopOnError(self.result)

    def _wait(self, change: Change, why: str) -> None:
        self.result.waiting.append((change, why))

    def _move(
        self, change: Change, status: Status, why: str, request_id: str | None = None
    ) -> Change:
        return self._ledger.transition(change, status, who=ACTOR, what=why, request_id=request_id)

    def _done(
        self,
        change: Change,
        status: Status,
        why: str,
        milestone_id: str | None,
        request_id: str | None = None,
    ) -> None:
        moved = self._ledger.transition(
            change, status, who=ACTOR, what=why, request_id=request_id, milestone_id=milestone_id
        )
        if status is not Status.APPROVED:
            self.result.changes.append(moved)


class _StopOnError:
    """Notes what of Kantata's ends a push early, so that the rest of it can go on."""

    def __init__(self, result: PushResult) -> None:
        self._result = result

    def __enter__(self) -> None:
        pass

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> bool:
        if not isinstance(error, KantataError):
            return False
        self._result.stopped = self._result.stopped or error
        return True


def _mismatch(change: Change, seen: MilestoneState | None, units: Units) -> str:
    """What is not as asked after it was applied, in words."""
    if change.action is Action.DELETE:
        return "deleted, and still there when read again" if seen is not None else ""
    if seen is None:
        return "written, and not there when read again"
    wrong = differences(expected(change), seen.image, units)
    return f"written, and when read again {wrong}" if wrong else ""


def _limit(steps: list[Step], most: int) -> list[Step]:
    """The steps, those beyond what one push may do put off."""
    planned: list[Step] = []
    for step in steps:
        if isinstance(step, Write) or (
            not isinstance(step, Deferred) and step.change.status is Status.APPROVED
        ):
            most -= 1
            if most < 0:
                step = Deferred(step.change, "beyond max_changes: left for a later push")
        planned.append(step)
    return planned


def chunks(items: Sequence[_T], size: int) -> list[list[_T]]:
    """The items, at most so many at a time."""
    return [list(items[n : n + size]) for n in range(0, len(items), size)]
