"""Creates in batches: matched by reference, at most once each, whatever Kantata answers."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import orjson
import pytest

from sources.kantata.errors import KantataForbidden, KantataOutcomeUnknown
from sources.kantata_sandbox import Fault
from tests.support.killed_push import OF_BATCHES, Trial, killed
from tests.support.sampling import sample, seed
from tests.support.write_faults import FAULTS
from tests.support.writing_desk import Desk
from warehouse.ledger.change import Action, Change, Status

_LONG = [pytest.mark.long, pytest.mark.timeout(0)]
# How the account may treat a batch (API.md#batch-create): nobody knows which it is.
RULES: list[dict[str, Any]] = [
    {},
    {"indexes": False},
    {"atomic": False},
    {"atomic": False, "indexes": False},
    {"atomic": False, "accepts_part": True},
    {"atomic": False, "accepts_part": True, "indexes": False},
    {"most_rows": 1},
    {"shows_references": False},
    {"atomic": False, "accepts_part": True, "most_rows": 1},
    {"atomic": False, "accepts_part": True, "shows_references": False},
]


def _creates(desk: Desk, *, good: int, invalid: int = 0) -> list[Change]:
    """Approve creates; those that Kantata must refuse, since a task is missing, are second."""
    desk.batch_creates = max(desk.batch_creates, good + invalid)
    drafts = [desk.draft(Action.CREATE) for _ in range(good + invalid)]
    for place in range(1, 1 + invalid):
        after = {**drafts[place].after, "billing_type": "upon_completion"}
        drafts[place] = replace(drafts[place], after=after)
    return [desk.approved(draft) for draft in drafts]


def _statuses(desk: Desk, changes: Sequence[Change]) -> list[Status]:
    return [desk.assert_true(change, finished=False).status for change in changes]


def _bodies(desk: Desk) -> list[Any]:
    """What each POST carried."""
    return [orjson.loads(r.body) for r in list(desk.sandbox.requests) if r.method == "POST"]


def test_batches(file_desk: Desk) -> None:
    """Creates share requests, the other changes do not, and ``max_changes`` holds."""
    desk = file_desk
    creates = _creates(desk, good=7)
    update = desk.approved(desk.draft(Action.UPDATE))
    creates += _creates(desk, good=2)
    desk.batch_creates = 3
    assert desk.push(most=8).exit_code == 0
    assert [len(body["billing_milestones"]) for body in _bodies(desk)[:2]] == [3, 3]
    assert desk.push().exit_code == 0
    sizes = [len(body.get("billing_milestones", [1])) for body in _bodies(desk)]
    assert (sum(sizes), max(sizes)) == (9, 3)
    for change in [*creates, update]:
        assert desk.assert_true(change).status is Status.APPLIED
        assert desk.sent(change) == 1


def test_without_batches_nothing_is_different(file_desk: Desk) -> None:
    """One create a request, with a body of one milestone and no query."""
    desk = file_desk
    _creates(desk, good=2)
    desk.batch_creates = 1
    assert desk.push().exit_code == 0
    posts = [r for r in desk.sandbox.requests if r.method == "POST"]
    assert [(list(orjson.loads(r.body)), r.query) for r in posts] == [
        (["billing_milestone"], {})
    ] * 2


def test_an_answer_of_20_rows(file_desk: Desk) -> None:
    """The newest 20 of 21 are known by their references; the others are found later."""
    desk = file_desk
    desk.sandbox.account.set_batch_rules(most_rows=20)
    changes = _creates(desk, good=21)
    result = desk.push(reconcile_after=240)
    assert (result.exit_code, result.stopped) == (3, None)
    assert _statuses(desk, changes) == [Status.UNKNOWN] + [Status.APPLIED] * 20
    assert "does not say which milestone" in desk.change(changes[0]).outcome
    desk.pass_time(241)
    assert desk.push(reconcile_after=240).exit_code == 0
    assert _statuses(desk, changes) == [Status.APPLIED] * 21
    assert {desk.sent(change) for change in changes} == {1}


def test_an_answer_without_references(file_desk: Desk) -> None:
    """Nothing is guessed from the order: all are unknown, the push ends, and they are found."""
    desk = file_desk
    desk.sandbox.account.set_batch_rules(shows_references=False)
    changes = _creates(desk, good=6)
    desk.batch_creates = 3
    result = desk.push(reconcile_after=240)
    assert (result.exit_code, type(result.stopped)) == (75, KantataOutcomeUnknown)
    assert _statuses(desk, changes) == [Status.UNKNOWN] * 3 + [Status.APPROVED] * 3
    desk.pass_time(241)
    desk.finish()
    assert _statuses(desk, changes) == [Status.APPLIED] * 6
    assert {desk.sent(change) for change in changes} == {1}


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.long)], ids=["some", "all"])
def test_a_refused_row_among_good_ones(file_desk: Desk, every: int) -> None:
    """It fails with its own reason; the good ones are created, alone if they must be sent again."""
    desk = file_desk
    for rules in sample(RULES[:6], every).items:
        desk.sandbox.account.set_batch_rules(**rules)
        changes = good, bad, *more = _creates(desk, good=3, invalid=1)
        desk.push(reconcile_after=240)
        failed = Status.FAILED if rules.get("indexes", True) else Status.UNKNOWN
        assert desk.assert_true(bad, finished=False).status is failed
        created = Status.UNKNOWN if rules.get("atomic", True) else Status.APPLIED
        assert _statuses(desk, [good, *more]) == [created] * 3
        for _ in range(2):  # the look after the refusal was the first of two
            desk.pass_time(241)
            desk.push(reconcile_after=240)
        done = Status.APPLIED
        assert _statuses(desk, changes) == [done, Status.FAILED, done, done]
        assert "story_id: Story can't be blank" in desk.change(bad).outcome
        sent = 1 if created is done else 2
        assert {desk.sent(change) for change in (good, *more)} == {sent}
        again = [body for body in _bodies(desk) if bad.change_id in str(body)][1:]
        assert all("billing_milestone" in body for body in again)


def test_what_is_forbidden_ends_the_push(file_desk: Desk) -> None:
    """A batch that is forbidden counts as that many changes in a row."""
    desk = file_desk
    changes = _creates(desk, good=4)
    desk.batch_creates = 3
    desk.sandbox.misbehave(Fault("refuse", method="POST", status=403))
    result = desk.push(reconcile_after=240)
    assert isinstance(result.stopped, KantataForbidden)
    assert _statuses(desk, changes) == [Status.UNKNOWN] * 3 + [Status.APPROVED]


def test_altered_or_withdrawn_while_a_batch_is_planned(file_desk: Desk) -> None:
    """Only the others are sent."""
    desk = file_desk
    first, altered, withdrawn, last = _creates(desk, good=4)

    def interfere(_: object) -> None:
        desk.alter(altered, '{"title": "x", "amount_in_cents": 9}')
        with desk.ledger() as ledger:
            ledger.transition(withdrawn, Status.WITHDRAWN, who="ann", what="no")

    where = {"workspace_ids": first.workspace_id}
    desk.sandbox.misbehave(Fault("change", method="GET", query=where, times=1, action=interfere))
    desk.push()
    assert _statuses(desk, [first, last]) == [Status.APPLIED] * 2
    assert desk.change(altered).status is Status.CONFLICT
    assert desk.change(withdrawn).status is Status.WITHDRAWN
    assert [desk.sent(change) for change in (first, altered, withdrawn, last)] == [1, 0, 0, 1]


@pytest.mark.parametrize(
    "every", [pytest.param(320, id="some"), pytest.param(1, id="all", marks=_LONG)]
)
def test_every_fault_of_a_batch(
    file_desk: Desk, every: int, record_property: pytest.RecordProperty
) -> None:
    """With every fault and every way to treat a batch, each create is done at most once."""
    desk = file_desk
    cases = list(itertools.product(RULES, FAULTS, (0, 1), (False, True)))
    chosen = sample(cases, every)
    for rules, (_, fault), invalid, later in chosen.items:
        desk.sandbox.account.set_batch_rules(**rules)
        changes = _creates(desk, good=2, invalid=invalid)
        times = fault.get("times", 1)
        desk.sandbox.misbehave(Fault(**{"method": "POST", **fault, "times": times}))
        desk.push(reconcile_after=240 if later else 0)
        if later:
            _statuses(desk, changes)
        desk.sandbox.behave()
        desk.pass_time(241)
        desk.finish()
        for place, change in enumerate(changes):
            now = desk.assert_true(change)
            is_bad = invalid == 1 == place
            wanted = Status.FAILED if is_bad else Status.APPLIED
            about = (rules, fault, invalid, later, place, now)
            assert now.status is wanted or (is_bad and now.status is Status.CONFLICT), about
            # Again in a batch if it was throttled or never arrived; else alone, and only once.
            assert desk.sent(change) <= 2 + (invalid and fault["kind"] in ("throttle", "refuse")), (
                about
            )
    record_property("faults", f"{len(chosen.items)} ({chosen.about})")


def pushed(desk: Desk) -> None:
    """Run an earlier push that meets the fault, so that its outcome is unknown."""
    desk.push()


@dataclass(frozen=True)
class Case:
    """A push of a batch that is going to be killed.

    Args:
        rules: How the account treats a batch.
        fault: The first fault it meets.
        invalid: How many of its creates Kantata refuses.
        before: An earlier push, after which the creates may have been sent.
    """

    rules: dict[str, Any] = field(default_factory=dict)
    fault: dict[str, Any] = field(default_factory=dict)
    invalid: int = 0
    before: Callable[[Desk], object] | None = None

    def killed(self, desk: Desk, line: int) -> tuple[list[Change], Trial]:
        """Push new creates with the fault, and kill the push at the line."""
        desk.sandbox.account.set_batch_rules(**self.rules)
        changes = _creates(desk, good=2, invalid=self.invalid)
        if self.fault:
            times = min(self.fault.get("times", 1), 4)
            desk.sandbox.misbehave(Fault(**{"method": "POST", **self.fault, "times": times}))
        if self.before:
            self.before(desk)
        trial = killed(desk, line)
        desk.sandbox.behave()
        return changes, trial

    def check(self, desk: Desk, changes: list[Change], line: int) -> None:
        """Check that each was done at most once, and that the next pushes complete them."""
        _statuses(desk, changes)
        desk.finish()
        for place, change in enumerate(changes):
            now = desk.assert_true(change)
            refused = self.fault.get("kind") == "refuse" or (self.invalid and place == 1)
            assert now.status is Status.APPLIED or refused, (self, line, now)
            # In the batch, once more after the fault, and once more alone.
            assert desk.sent(change) <= 2 + bool(self.fault), (self, line, now)


FEW = [
    Case(),
    Case(invalid=1),
    Case(RULES[4], invalid=1),
    Case(RULES[3], {"kind": "drop_after"}, invalid=1),
    Case(RULES[6], before=pushed),
    Case({}, {"kind": "drop_after"}, before=pushed),
    Case({}, {"kind": "throttle", "executed": True, "retry_after": 0}),
]
ALL = (
    FEW
    + [Case(rules, invalid=invalid) for rules in RULES for invalid in (0, 1)]
    + [Case({}, fault) for _, fault in FAULTS]
)


@pytest.mark.parametrize(
    ("cases", "lines", "some"),
    [
        pytest.param(FEW, 900, 7, id="some"),
        pytest.param(FEW[:2], 1, 1, id="every line", marks=_LONG),
        pytest.param(ALL, 20, 1, id="every case", marks=_LONG),  # at other lines in each commit
    ],
)
def test_a_batch_killed_at_every_line(
    file_desk: Desk,
    cases: list[Case],
    lines: int,
    some: int,
    record_property: pytest.RecordProperty,
) -> None:
    """After a push is killed at any line, the next ones complete it, with each create once."""
    desk, fell, reached = file_desk, Counter[str](), Counter[str]()
    chosen = sample(cases, some)
    for case in chosen.items:
        changes, whole = case.killed(desk, 0)
        case.check(desk, changes, 0)
        reached += whole.lines
        total = whole.lines.total()
        for line in sample(range(1, total + 1), lines, f"{seed()} {case}").items:
            changes, trial = case.killed(desk, line)
            case.check(desk, changes, line)
            fell[trial.last] += trial.died
    never = [name for name in OF_BATCHES if not reached[name]]
    assert cases is not ALL or not never, f"lines of these were never run: {never}"
    assert fell.total() >= len(chosen.items)
    record_property("killed", f"{fell.total()} lines of {len(reached)} functions ({chosen.about})")
