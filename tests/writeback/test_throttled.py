"""Updates and deletes that Kantata throttles: it may carry out what it answers with 429."""

from __future__ import annotations

import pytest

from sources.kantata_sandbox import Fault
from tests.support.writing_desk import WRITES, Desk
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Action, Change, Status

ACTIONS = pytest.mark.parametrize("action", [Action.UPDATE, Action.DELETE])
EXECUTED = pytest.mark.parametrize("executed", [False, True], ids=["refused", "executed"])
WAIT = 240.0  # seconds: reconcile_after


def _throttled(action: Action, *, executed: bool, retry_after: float = 0) -> Fault:
    """The fault that throttles the next write of this kind."""
    method = WRITES[action]
    return Fault("throttle", method=method, times=1, executed=executed, retry_after=retry_after)


def _withdraw(desk: Desk, change: Change) -> None:
    """Withdraw a change."""
    with desk.ledger() as ledger:
        ledger.transition(ledger.change(change.change_id), Status.WITHDRAWN, who="ann", what="no")


@ACTIONS
@EXECUTED
def test_it_is_read_back_before_it_is_sent_again(
    file_desk: Desk, action: Action, executed: bool
) -> None:
    """Until then the ledger does not call it approved, so nobody can withdraw it."""
    desk = file_desk
    change = desk.approved(desk.draft(action))
    refused: list[bool] = []

    def withdraw(_account: object) -> None:
        if desk.sent(change) == 1 and not refused:
            with pytest.raises(ChangeRefused, match="applying"):
                _withdraw(desk, change)
            refused.append(True)

    desk.sandbox.misbehave(
        _throttled(action, executed=executed), Fault("change", method="GET", action=withdraw)
    )
    assert desk.push(reconcile_after=WAIT).exit_code == 0
    assert refused
    assert desk.assert_true(change).status is Status.APPLIED
    assert desk.sent(change) == (1 if executed else 2)


@ACTIONS
@EXECUTED
def test_it_is_unknown_if_it_cannot_be_read_back(
    file_desk: Desk, action: Action, executed: bool
) -> None:
    """A later push finds out, and sends it again only if it was not carried out."""
    desk = file_desk
    first = desk.approved(desk.draft(action))
    desk.push()
    methods = [request.method for request in desk.sandbox.requests]
    change = desk.approved(desk.draft(action))
    before = methods.index(WRITES[action])  # requests of a push until it writes
    desk.sandbox.misbehave(
        _throttled(action, executed=executed), Fault("error", method="GET", skip=before)
    )
    assert desk.push(reconcile_after=WAIT).exit_code == 75
    now = desk.change(change)
    assert (now.status, "cannot be read back" in now.outcome) == (Status.UNKNOWN, True), now
    with pytest.raises(ChangeRefused, match="unknown"):
        _withdraw(desk, change)
    desk.sandbox.behave()
    desk.pass_time(WAIT + 1)
    assert desk.push(reconcile_after=WAIT).exit_code == 0
    assert desk.sent(change) == (1 if executed else 2)
    assert {desk.assert_true(each).status for each in (first, change)} == {Status.APPLIED}


@ACTIONS
@EXECUTED
def test_a_long_wait_ends_the_push_with_the_truth(
    file_desk: Desk, action: Action, executed: bool
) -> None:
    """The change is applied or approved, and the changes after it stay approved."""
    desk = file_desk
    change, other = (desk.approved(desk.draft(action)) for _ in range(2))
    desk.sandbox.misbehave(_throttled(action, executed=executed, retry_after=3600))
    assert desk.push().exit_code == 75
    assert desk.assert_true(change, finished=False).status is (
        Status.APPLIED if executed else Status.APPROVED
    )
    assert (desk.change(other).status, desk.sent(other)) == (Status.APPROVED, 0)
