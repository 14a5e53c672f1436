"""A create of unknown outcome is sent again once at most, after two looks; then people decide."""

from __future__ import annotations

from datetime import timedelta

import pytest

from pipelines.writeback.resend import throttled_at
from sources.kantata_sandbox import Fault
from tests.support.office import Office
from tests.support.writing_desk import Desk
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Action, Change, Status

WAIT = 240.0  # seconds: reconcile_after


def _push(desk: Desk, change: Change, after: float = 0) -> tuple[Status, int]:
    """Push after this time; return the status of the change, and how often it was sent."""
    desk.pass_time(after)
    desk.push(reconcile_after=WAIT)
    return desk.change(change).status, desk.sent(change)


def _lost_twice(desk: Desk) -> Change:
    """A create that was sent twice, and that Kantata never executed."""
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.misbehave(Fault("drop_before", method="POST"))
    assert _push(desk, change) == (Status.UNKNOWN, 1)
    assert _push(desk, change, WAIT + 1) == (Status.UNKNOWN, 1)  # the first look
    assert _push(desk, change, WAIT - 60) == (Status.UNKNOWN, 1)  # too early for the second
    assert _push(desk, change, 61) == (Status.UNKNOWN, 2)  # the second: sent again
    for _ in range(3):
        assert _push(desk, change, WAIT + 1) == (Status.UNKNOWN, 2)
    desk.sandbox.behave()
    return change


def test_a_create_is_sent_again_once(desk: Desk) -> None:
    """It is sent again only after two looks; then it stays unknown, with 3 at each run."""
    change = _lost_twice(desk)
    result = desk.push(reconcile_after=WAIT)
    assert result.exit_code == 3
    assert f"milestones reconcile {change.change_id} --created" in result.needs[0]
    (step,) = desk.plan(WAIT)
    assert "milestones reconcile" in str(step)
    desk.settle(change, None)
    assert (desk.change(change).status, desk.sent(change)) == (Status.CONFLICT, 2)
    assert "not created, says bob: I looked" in desk.change(change).outcome


def test_lists_that_lag_longer_than_the_wait(file_desk: Desk) -> None:
    """A milestone that lists and references do not show yet is made twice at most."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.misbehave(Fault("drop_after", method="POST"))
    desk.sandbox.account.set_list_lag(10_000)
    for _ in range(8):
        _push(desk, change, WAIT + 1)
    assert (desk.change(change).status, desk.sent(change)) == (Status.UNKNOWN, 2)
    made = desk.made_by(change)
    assert len(made) == 2
    with pytest.raises(ChangeRefused, match="cannot be read"):
        desk.settle(change, "9")
    with pytest.raises(ChangeRefused, match="another person"):
        desk.settle(change, made[0], actor="Ann ")
    desk.settle(change, made[0])
    assert desk.change(change).milestone_id == made[0]
    assert desk.change(change).status is Status.APPLIED


def test_a_throttled_create_is_looked_for_first(file_desk: Desk) -> None:
    """Kantata may execute what it throttles, and show it late: the same push sends it once."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.misbehave(Fault("throttle", method="POST", times=1, executed=True, retry_after=0))
    desk.sandbox.account.set_list_lag(10)
    assert _push(desk, change) == (Status.UNKNOWN, 1)
    assert _push(desk, change, 11) == (Status.UNKNOWN, 1)  # too early
    assert _push(desk, change, WAIT) == (Status.APPLIED, 1)
    desk.assert_true(change)


def test_a_create_that_was_only_throttled_is_sent_again(file_desk: Desk) -> None:
    """It is sent once in each push, after one look, as often as it is throttled."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.misbehave(Fault("throttle", method="POST", times=3, retry_after=0))
    for sent in (1, 2, 3):
        assert _push(desk, change, WAIT + 1) == (Status.UNKNOWN, sent)
    assert _push(desk, change, WAIT + 1) == (Status.APPLIED, 4)


def test_a_throttled_create_that_a_wrong_clock_dates(file_desk: Desk) -> None:
    """It waits as usual once the time is corrected, and its throttling still does not count."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.CREATE))
    ahead = desk.now + timedelta(days=3)
    with desk.ledger() as ledger:
        sent = ledger.mark_sending(change, who="a wrong clock", what="sending", at=ahead)
        ledger.transition(
            sent, Status.UNKNOWN, who="a wrong clock", what="429", looked_at=throttled_at(sent)
        )
    assert _push(desk, change) == (Status.UNKNOWN, 0)
    assert _push(desk, change, WAIT + 1) == (Status.APPLIED, 1)
    assert desk.change(change).resends == 0


def test_three_throttled_creates_end_a_push(file_desk: Desk) -> None:
    """The others stay approved, and the push ends with 75."""
    desk = file_desk
    changes = [desk.approved(desk.draft(Action.CREATE)) for _ in range(4)]
    desk.sandbox.misbehave(Fault("throttle", method="POST", retry_after=0))
    assert desk.push(reconcile_after=WAIT).exit_code == 75
    assert [desk.change(c).status for c in changes] == [Status.UNKNOWN] * 3 + [Status.APPROVED]


def test_only_what_is_unknown_is_settled_by_hand(file_desk: Desk) -> None:
    """A push settles the rest; what Kantata shows cannot be denied."""
    desk = file_desk
    update = desk.approved(desk.draft(Action.UPDATE))
    with pytest.raises(ChangeRefused, match="only a create whose outcome is unknown"):
        desk.settle(update, None)
    desk.sandbox.misbehave(Fault("drop_after", times=1, method="PUT"))
    desk.push(reconcile_after=WAIT)
    assert desk.change(update).status is Status.UNKNOWN
    with pytest.raises(ChangeRefused, match="only a create whose outcome is unknown"):
        desk.settle(update, update.milestone_id)
    create = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.misbehave(Fault("drop_after", method="POST", times=1))
    desk.push(reconcile_after=WAIT)
    (made,) = desk.made_by(create)
    with pytest.raises(ChangeRefused, match=f"--created {made}"):
        desk.settle(create, None)
    desk.settle(create, made)
    assert desk.assert_true(create).status is Status.APPLIED


@pytest.mark.parametrize("job", ["duckdb"], indirect=True)
def test_the_command_settles_and_syncs(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """`reconcile CHANGE_ID --created` loads the milestone, too."""
    monkeypatch.setenv("PUSH__RECONCILE_AFTER", "0")
    project = str(office.sandbox.account.milestones[office.free()[0]]["workspace_id"])
    values = (f"workspace_id={project}", "title=new", "amount_in_cents=5")
    words = [word for value in values for word in ("--set", value)]
    change = office.json("propose", "create", *words, "--reason", "r", "--as", "ann")["change_id"]
    office.json("approve", change, "--as", "bob")
    office.sandbox.misbehave(Fault("drop_after", method="POST", times=1))
    assert office.run("push")[0] == 3
    (made,) = (i for i, m in office.sandbox.account.milestones.items() if m["title"] == "new")
    for wrong in (("--created", made, "--not-created"), ("--reason", "x")):
        assert office.run("reconcile", change, *wrong)[0] == 2
    assert office.run("reconcile", "--created", made)[0] == 2
    code, said = office.run("reconcile", change, "--created", made, "--as", "bob")
    assert (code, "--reason is empty" in said) == (2, True), said
    found = ("reconcile", change, "--created", made, "--reason", "I see it", "--as", "bob")
    code, said = office.run(*found)
    assert (code, f"{change} applied" in said) == (0, True), said
    rows = office.job.rows(f"select title from kantata.billing_milestones where id = '{made}'")
    assert rows == [("new",)]
    assert "says bob: I see it" in office.run("audit", change)[1]


def test_only_a_push_approves_an_unknown_change_again(file_desk: Desk) -> None:
    """A person who approves it again would let it be sent at once, and twice."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.misbehave(Fault("drop_after", method="POST", times=1))
    assert _push(desk, change) == (Status.UNKNOWN, 1)
    with desk.ledger() as ledger, pytest.raises(ChangeRefused, match="it is unknown"):
        ledger.approve(ledger.change(change.change_id), "carl")
    assert _push(desk, change, WAIT + 1) == (Status.APPLIED, 1)


def test_a_milestone_that_cannot_be_the_created_one_is_refused(file_desk: Desk) -> None:
    """Another one carries the change's id, or it was there before; and not at once."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.CREATE))
    older = next(
        id_ for id_, m in desk.sandbox.account.milestones.items()
        if m["workspace_id"] == change.workspace_id
    )  # fmt: skip
    desk.sandbox.misbehave(Fault("drop_after", method="POST", times=1))
    desk.push(reconcile_after=WAIT)
    (made,) = desk.made_by(change)
    with pytest.raises(ChangeRefused, match=f"--created {made}"):
        desk.settle(change, older)
    desk.sandbox.account.delete_milestone(made)
    other = next(
        id_ for id_, m in desk.sandbox.account.milestones.items()
        if m["workspace_id"] != change.workspace_id
    )  # fmt: skip
    with pytest.raises(ChangeRefused, match="belongs to project"):
        desk.settle(change, other)
    for no_id in (f"{older}?", "\uff17", ""):  # no part of an address
        with pytest.raises(ChangeRefused, match="cannot be read: nothing was settled"):
            desk.settle(change, no_id)
    with pytest.raises(ChangeRefused, match="before this change was proposed"):
        desk.settle(change, older)
    with pytest.raises(ChangeRefused, match="cannot be settled yet"):
        desk.settle(change, None, reconcile_after=WAIT)
