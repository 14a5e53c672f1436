"""Pushes with every fault, and pushes killed at every line, write each change at most once."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest

from sources.kantata_sandbox import Fault
from tests.support.killed_push import FUNCTIONS, MODULES, OF_UNKNOWNS, Trial, killed
from tests.support.sampling import sample, seed
from tests.support.write_faults import FAULTS
from tests.support.writing_desk import WRITES, Desk
from warehouse.ledger.change import Action, Change, Status

_LONG = [pytest.mark.long, pytest.mark.timeout(0)]  # every line takes an hour


@pytest.mark.parametrize(
    "every",
    [
        pytest.param({"sqlite": 12, "postgres": 48}, id="some"),
        pytest.param({"sqlite": 1, "postgres": 1}, id="all", marks=_LONG),
    ],
)
def test_every_fault_of_every_write(
    desk: Desk, every: dict[str, int], record_property: pytest.RecordProperty
) -> None:
    """With every fault, a write is done at most once, and ledger and account agree.

    The same push also has an unapproved change, and one whose milestone was edited.
    """
    cases = list(itertools.product(Action, FAULTS, (False, True)))
    chosen = sample(cases, every[desk.kind])
    for action, (sends, fault), later in chosen.items:
        unapproved = desk.proposed(desk.draft(Action.UPDATE))
        edited = desk.approved(desk.draft(Action.UPDATE))
        desk.sandbox.account.update_milestone(str(edited.milestone_id), title="edited")
        change = desk.approved(desk.draft(action))
        times = fault.get("times", 1)
        desk.sandbox.misbehave(Fault(**{"method": WRITES[action], **fault, "times": times}))
        desk.push(reconcile_after=240 if later else 0)
        if later:  # reading works again when the outcome is reconciled
            at_once = desk.assert_true(change, finished=False)
            assert at_once.status is not Status.APPROVED or fault["kind"] != "drop_after"
        desk.sandbox.behave()
        desk.pass_time(241)
        desk.finish()
        now = desk.assert_true(change)
        if action is Action.CREATE and sends > 1 and fault["kind"] == "throttle":
            sends = 2  # not in the same push
        assert desk.sent(change) == sends, (fault, now)
        assert now.status is Status.APPLIED or fault["kind"] == "refuse", (fault, now)
        assert desk.change(unapproved).status is Status.PROPOSED
        assert desk.done(unapproved) == 0
        assert desk.change(edited).status is Status.CONFLICT
        assert desk.sandbox.account.milestones[str(edited.milestone_id)]["title"] == "edited"
    record_property("faults", f"{len(chosen.items)} ({chosen.about})")
    print(f"{len(chosen.items)} faulty writes ({chosen.about}): each done at most once")


def pushed(desk: Desk, _change: Change) -> None:
    """Run an earlier push that meets the fault, so that its outcome is unknown."""
    desk.push()


def died_before_sending(desk: Desk, change: Change) -> None:
    """Leave the ledger as an earlier push that was killed just before it sent."""
    account = desk.sandbox.account
    account.advance(60)  # the milestone has not changed for a while
    with desk.ledger() as ledger:
        at = datetime.fromtimestamp(account.clock.now(), UTC)
        ledger.mark_sending(change, who="push", what="sending", at=at)


@dataclass(frozen=True)
class Case:
    """A push that is going to be killed.

    Args:
        action: What it writes.
        sends: How often that may be sent in all.
        fault: The first fault it meets.
        before: An earlier push, after which the change may have been sent.
    """

    action: Action
    sends: int = 1
    fault: dict[str, Any] = field(default_factory=dict)
    before: Callable[[Desk, Change], object] | None = None

    def __str__(self) -> str:
        fault = " ".join(f"{name} {value}" for name, value in self.fault.items())
        before = f"after {self.before.__name__}" if self.before else ""
        return " ".join(filter(None, (self.action.value, fault, before)))

    def killed(self, desk: Desk, line: int) -> tuple[Change, Trial]:
        """Push a new change with the fault, and kill the push at the line."""
        change = desk.approved(desk.draft(self.action))
        if self.fault:
            times = min(self.fault.get("times", 1), 4)  # more reach no further line
            method = WRITES[self.action]
            desk.sandbox.misbehave(Fault(**{"method": method, **self.fault, "times": times}))
        if self.before:
            self.before(desk, change)
        trial = killed(desk, line)
        desk.sandbox.behave()
        return change, trial

    def check(self, desk: Desk, change: Change, line: int) -> None:
        """Check that it was done at most once, and that the next push completes it."""
        desk.assert_true(change, finished=False)
        desk.finish()
        now = desk.assert_true(change)
        refused = self.fault.get("kind") == "refuse"
        assert now.status is Status.APPLIED or refused, (self, line, now)
        # A refusal that died with the push is an unknown outcome: it may be sent once more.
        lost = refused and line > 0
        assert desk.sent(change) <= self.sends + lost, (self, line, now)


FEW = [
    case
    for action in Action
    for case in (
        Case(action),
        Case(action, 1, {"kind": "drop_after"}),
        Case(action, 2, {"kind": "error"}),
        Case(action, 1, {"kind": "drop_after"}, before=pushed),
        Case(action, 1, before=died_before_sending),
    )
]
WITH_FAULTS = [Case(action, sends, fault) for action in Action for sends, fault in FAULTS]
ALL = FEW + [case for case in WITH_FAULTS if case not in FEW]


@dataclass(frozen=True)
class Few:
    """How much is tried: one in so many.

    Args:
        lines: Lines of a push.
        cases: Pushes.
    """

    lines: int
    cases: int = 1


@pytest.mark.parametrize(
    ("cases", "every"),
    [
        # Which functions a push reaches does not depend on the kind of ledger.
        pytest.param(FEW, {"sqlite": Few(481), "postgres": Few(281, cases=5)}, id="some"),
        *(  # a test for each, so that workers share them
            pytest.param([case], {"sqlite": Few(1), "postgres": Few(7)}, id=str(case), marks=_LONG)
            for case in ALL
        ),
    ],
)
def test_killed_at_every_line(
    desk: Desk,
    cases: list[Case],
    every: dict[str, Few],
    record_property: pytest.RecordProperty,
) -> None:
    """After a push is killed at any line, with any fault, the next push completes it."""
    step = every[desk.kind].lines
    chosen = sample(cases, every[desk.kind].cases)
    reached: Counter[str] = Counter()
    fell: Counter[str] = Counter()
    for case in chosen.items:
        change, whole = case.killed(desk, 0)
        case.check(desk, change, 0)
        reached += whole.lines
        lines = sample(range(1, whole.lines.total() + 1), step, f"{seed()} {case}")
        for line in lines.items:
            change, trial = case.killed(desk, line)
            case.check(desk, change, line)
            fell[trial.last] += trial.died  # a later push may have fewer lines
    never = [name for name in (*MODULES, *FUNCTIONS, *OF_UNKNOWNS) if not reached[name]]
    assert chosen.items != FEW or not never, f"lines of these were never run: {never}"
    spared = reached.keys() - fell.keys() if step == 1 else set()
    assert not spared, "no push died in these"
    about = f"one line in {step}, chosen by {seed()[:12]}"
    record_property("killed", f"{fell.total()} lines ({about}) of {len(reached)} functions")
    print(f"killed at {fell.total()} lines ({about}): done at most once, ledger and account agree")
    assert fell.total() >= len(chosen.items)
