"""Writing back when the account is not what it seems: what is not seen is not settled."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from pipelines.writeback.plan import Conflict, Deferred, NoOp, Write
from sources.kantata.errors import KantataForbidden, KantataOutcomeUnknown
from sources.kantata_sandbox import Fault, Sandbox
from sources.kantata_sandbox.account import Account
from tests.support.writing_desk import Desk
from warehouse.errors import WarehouseBusy, WarehouseMisconfigured
from warehouse.ledger.account import bound_account
from warehouse.ledger.change import Action, Status
from warehouse.ledger.push_lock import push_lock


def test_a_create_whose_project_vanished_stays_unknown(file_desk: Desk) -> None:
    """An empty list of a project nobody can read is no sign that nothing was made."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.misbehave(Fault("drop_after", method="POST", times=1))
    desk.push(reconcile_after=240)
    desk.sandbox.account.hide_workspace(change.workspace_id)
    desk.pass_time(241)
    for result in (desk.reconcile(240), desk.push(240)):
        assert desk.change(change).status is Status.UNKNOWN
        assert result.waiting[0][1] == f"project {change.workspace_id} cannot be read"
    desk.sandbox.account.show_workspace(change.workspace_id)
    assert desk.push(240).exit_code == 0
    assert desk.assert_true(change).status is Status.APPLIED
    assert desk.sent(change) == 1


def test_a_create_in_a_project_only_the_writer_sees(file_desk: Desk) -> None:
    """What cannot be read back is not made, be it that the token for writing could."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.account.hide_workspace(change.workspace_id)
    assert desk.push().exit_code == 3
    assert (desk.change(change).status, desk.sent(change)) == (Status.APPROVED, 0)


def test_a_project_that_is_not_shown_whole(file_desk: Desk) -> None:
    """A create waits while its project shows fewer rows than it counts; others do not."""
    desk = file_desk
    create = desk.approved(desk.draft(Action.CREATE))
    update = desk.approved(desk.draft(Action.UPDATE))
    where = {"workspace_ids": create.workspace_id}
    desk.sandbox.misbehave(Fault("lose_rows", method="GET", query=where))
    result = desk.push()
    assert "milestones cannot be read" in result.waiting[0][1]
    assert (desk.change(create).status, desk.sent(create)) == (Status.APPROVED, 0)
    assert desk.assert_true(update).status is Status.APPLIED
    desk.sandbox.behave()
    assert desk.push().exit_code == 0
    assert desk.assert_true(create).status is Status.APPLIED


def test_a_refusal_that_cannot_be_read_back_is_unknown(file_desk: Desk) -> None:
    """If the project vanishes with the refusal, nobody knows whether the milestone was made."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.misbehave(
        Fault(
            "change", method="POST", times=1,
            action=lambda account: account.hide_workspace(change.workspace_id),
        ),
        Fault("refuse", method="POST", times=1),
    )  # fmt: skip
    desk.push()
    assert desk.change(change).status is Status.UNKNOWN
    desk.sandbox.account.show_workspace(change.workspace_id)
    desk.finish()
    desk.assert_true(change)


def test_a_refused_create_beside_a_new_equal_one(file_desk: Desk) -> None:
    """Refused, and yet an equal milestone is there: a person is told of it."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.misbehave(
        Fault(
            "change", method="POST", times=1,
            action=lambda account: account.create_milestone(**change.after),
        ),
        Fault("refuse", method="POST", times=1),
    )  # fmt: skip
    desk.push()
    now = desk.change(change)
    assert now.status is Status.CONFLICT
    assert "Kantata refused it (422" in now.outcome
    assert f"milestone {desk.made_by(change)[0]} is equal" in now.outcome


def test_a_slow_read_of_something_else(file_desk: Desk) -> None:
    """A milestone edited while the projects of creates are read for long is not written over."""
    desk = file_desk
    update = desk.approved(desk.draft(Action.UPDATE))
    create = desk.approved(desk.draft(Action.CREATE))
    id_ = str(update.milestone_id)
    where = {"workspace_ids": create.workspace_id}
    desk.sandbox.misbehave(
        Fault("delay", method="GET", query=where, times=1, seconds=0.5),
        Fault(
            "change", method="GET", query=where, times=1,
            action=lambda account: account.update_milestone(id_, title="edited by a person"),
        ),
    )  # fmt: skip
    assert desk.push().exit_code == 3
    assert desk.change(update).status is Status.CONFLICT
    assert desk.sandbox.account.milestones[id_]["title"] == "edited by a person"
    assert desk.assert_true(create).status is Status.APPLIED


def test_a_pace_too_slow_to_write(file_desk: Desk) -> None:
    """If whatever is read is old by the time it could be sent, nothing is sent."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.UPDATE))
    id_ = str(change.milestone_id)
    desk.sandbox.misbehave(Fault("delay", method="GET", query={"only": id_}, seconds=5.1))
    result = desk.push()
    assert result.exit_code == 3
    assert "older than 5 s" in result.waiting[0][1]
    assert (desk.change(change).status, desk.sent(change)) == (Status.APPROVED, 0)


def test_altered_after_it_was_planned(desk: Desk) -> None:
    """A change that is altered in the database while a push is going is not sent."""
    first, second = (desk.approved(desk.draft(Action.UPDATE)) for _ in range(2))
    desk.sandbox.misbehave(
        Fault(
            "change", method="PUT", times=1,
            action=lambda _: desk.alter(second, '{"amount_in_cents": 999999}'),
        )
    )  # fmt: skip
    assert desk.push().exit_code == 3
    assert desk.assert_true(first).status is Status.APPLIED
    assert desk.change(second).status is Status.CONFLICT
    assert desk.change(second).outcome == "it is not what was approved"
    assert desk.sent(second) == 0


def test_another_currency(file_desk: Desk) -> None:
    """An amount approved in one currency is not made in another one."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.account.update_workspace(change.workspace_id, currency="JPY")
    assert desk.push().exit_code == 3
    now = desk.change(change)
    assert (now.status, desk.sent(change)) == (Status.CONFLICT, 0)
    assert "currency was USD when it was proposed, and is JPY" in now.outcome


def test_what_else_a_write_changed_is_told(file_desk: Desk) -> None:
    """A field nobody asked to change and that did change is told after the write."""
    desk = file_desk
    id_ = desk.milestone()
    desk.sandbox.account.silently_update_milestone(id_, date_to_invoice="2027-01-01")
    asked = replace(
        desk.draft(Action.UPDATE), milestone_id=id_, before=desk.image(id_),
        after={"amount_in_cents": 5},
    )  # fmt: skip
    desk.approved(asked)
    create = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.misbehave(
        Fault(
            "change", method="PUT", times=1,
            action=lambda a: a.silently_update_milestone(id_, date_to_invoice=None),
        ),
        Fault("change", method="GET", path="billing_milestones$", skip=2, action=_give_dates),
    )  # fmt: skip
    result = desk.push()
    assert result.exit_code == 3
    assert "date_to_invoice is none, expected was 2027-01-01" in result.doubts[0]
    assert f"change {create.change_id}" in result.doubts[1]
    assert "date_to_invoice is 2030-01-01, expected was none" in result.doubts[1]


def _give_dates(account: Account) -> None:
    for id_, record in list(account.milestones.items()):
        if str(record["title"]).startswith("made"):
            account.silently_update_milestone(id_, date_to_invoice="2030-01-01")


def test_what_is_adopted_is_looked_at_too(file_desk: Desk) -> None:
    """A create found made, and not as asked, is told by ``reconcile`` as by a push."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.misbehave(Fault("drop_after", method="POST", times=1))
    desk.push()
    (made,) = desk.made_by(change)
    desk.sandbox.account.silently_update_milestone(made, amount_in_cents=123456)
    result = desk.reconcile()
    assert [c.status for c in result.changes] == [Status.APPLIED]
    assert result.exit_code == 3
    assert "amount is 1,234.56 USD, expected was 0.07 USD" in result.doubts[0]


def test_found_by_its_reference_alone(file_desk: Desk) -> None:
    """A made milestone that is not in its project any more is found, not made again."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.misbehave(Fault("drop_after", method="POST", times=1))
    desk.push()
    (made,) = desk.made_by(change)
    other = list(desk.sandbox.account.workspaces)[1]
    desk.sandbox.account.silently_update_milestone(made, workspace_id=other)
    assert desk.push().exit_code == 3  # it is not where it was asked for
    assert (desk.change(change).status, desk.change(change).milestone_id) == (Status.APPLIED, made)
    assert desk.sent(change) == 1


def test_put_back_by_a_person(file_desk: Desk) -> None:
    """An update that was done, and then undone by a person, is not done over that."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.UPDATE))
    id_ = str(change.milestone_id)
    old = {name: change.before[name] for name in change.after}
    desk.pass_time(60)
    desk.sandbox.misbehave(Fault("drop_after", method="PUT", times=1))
    desk.push(reconcile_after=240)
    desk.pass_time(60)
    desk.sandbox.account.update_milestone(id_, **old)
    desk.pass_time(241)
    assert desk.push(reconcile_after=240).exit_code == 3
    assert desk.change(change).status is Status.CONFLICT
    assert "put back by somebody" in desk.change(change).outcome
    assert {name: desk.image(id_)[name] for name in old} == old


@pytest.mark.parametrize("skew", [timedelta(minutes=5), -timedelta(hours=2)])
def test_clocks_of_machines_do_not_matter(desk: Desk, skew: timedelta) -> None:
    """However wrong a machine's clock is, an unknown is left alone for just as long."""
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.misbehave(Fault("error", method="POST", times=1, executed=True))
    desk.push(reconcile_after=240)
    desk.now += skew
    assert len(desk.push(reconcile_after=240).waiting) == 1
    desk.sandbox.account.advance(241)
    assert desk.push(reconcile_after=240).exit_code == 0
    assert desk.assert_true(change).status is Status.APPLIED
    assert desk.sent(change) == 1


def test_sent_at_a_time_to_come(desk: Desk) -> None:
    """A time of sending that lies ahead does not keep a change waiting for longer than usual."""
    change = desk.approved(desk.draft(Action.UPDATE))
    with desk.ledger() as ledger:
        ahead = desk.now + timedelta(days=3)
        sent = ledger.mark_sending(change, who="an older release", what="sending", at=ahead)
        ledger.transition(sent, Status.UNKNOWN, who="an older release", what="no answer")
    assert len(desk.push(reconcile_after=240).waiting) == 1
    desk.pass_time(200)
    assert len(desk.push(reconcile_after=240).waiting) == 1
    desk.pass_time(41)
    assert desk.push(reconcile_after=240).exit_code == 0
    assert desk.assert_true(change).status is Status.APPLIED
    with desk.ledger() as ledger:
        told = [event.what for event in ledger.events(change.change_id)]
    assert sum("clock that was ahead" in what for what in told) == 1


def test_an_equal_milestone_in_a_list_that_moves(file_desk: Desk) -> None:
    """An equal milestone is seen though a row is deleted while its project is read."""
    desk, account = file_desk, file_desk.sandbox.account
    project = next(iter(account.workspaces))
    ids = [
        account.create_milestone(
            title=f"row {n}", workspace_id=project, billing_type="fixed_date", story_id=None,
            invoice_id=None, amount_in_cents=1,
        )
        for n in range(450)
    ]  # fmt: skip
    change = desk.approved(desk.draft(Action.CREATE))
    here = [i for i, record in account.milestones.items() if record["workspace_id"] == project]
    for twin in (here[199], here[200], here[-200], here[-201]):  # beside the ends of pages
        after = {**change.after, "date_to_invoice": None}
        before = {name: account.milestones[twin][name] for name in after}
        account.silently_update_milestone(twin, **after)
        for gone in (ids[-1], ids[0]):
            record = dict(account.true_milestones[gone])
            for page in ("1", "2", "3"):
                desk.sandbox.misbehave(
                    Fault(
                        "change", method="GET", times=1,
                        query={"workspace_ids": project, "page": page},
                        action=lambda a, gone=gone: a.true_milestones.get(gone)
                        and a.delete_milestone(gone),
                    )
                )  # fmt: skip
                (step,) = desk.plan()
                assert isinstance(step, Conflict), (page, gone)
                assert twin in step.why
                desk.sandbox.behave()
                if gone not in account.true_milestones:
                    account.restore_milestone(record)
        account.silently_update_milestone(twin, **before)


def test_one_account_for_a_ledger(desk: Desk) -> None:
    """Changes for one account never go to another; on another port it is still the same one."""
    first = desk.approved(desk.draft(Action.CREATE))
    desk.push()
    with Sandbox(milestones=50) as again:
        desk.sandbox = again
        second = desk.approved(desk.draft(Action.CREATE))
        assert desk.push().exit_code == 0
        assert desk.assert_true(second).status is Status.APPLIED
        assert desk.made_by(first) == []
    with Sandbox(milestones=50) as other:
        other.account.user["account_id"] = 9
        desk.sandbox = other
        change = desk.approved(desk.draft(Action.CREATE))
        for ask in (desk.plan, desk.reconcile, desk.push):
            with pytest.raises(WarehouseMisconfigured, match="account 4711 at this machine/api/v1"):
                ask()
        assert (desk.change(change).status, desk.sent(change)) == (Status.APPROVED, 0)


def test_planning_binds_nothing(file_desk: Desk) -> None:
    """A plan writes nothing, so a ledger that nobody pushed belongs to no account yet."""
    file_desk.approved(file_desk.draft(Action.UPDATE))
    file_desk.plan()
    with file_desk.ledger() as ledger:
        assert bound_account(ledger) is None


def test_more_than_allowed_is_told(file_desk: Desk) -> None:
    """What ``max_changes`` leaves is counted, and what must wait takes nobody's place."""
    desk = file_desk
    other = list(desk.sandbox.account.workspaces)[1]
    hidden = [desk.approved(desk.draft(Action.UPDATE)) for _ in range(2)]
    good = []
    for number in range(3):
        id_ = desk.sandbox.account.create_milestone(
            title=f"other {number}", workspace_id=other, billing_type="fixed_date", story_id=None,
            invoice_id=None, amount_in_cents=3,
        )  # fmt: skip
        asked = replace(
            desk.draft(Action.UPDATE), milestone_id=id_, workspace_id=other,
            before=desk.image(id_), after={"title": f"new {number}"},
        )  # fmt: skip
        good.append(desk.approved(asked))
    desk.sandbox.account.hide_workspace(hidden[0].workspace_id)
    kinds = [type(step) for step in desk.plan(most=2)]
    assert kinds == [Deferred, Deferred, Write, Write, Deferred]
    result = desk.push(most=2)
    assert (len(result.waiting), result.more) == (2, 1)
    assert [desk.change(c).status for c in good] == [Status.APPLIED] * 2 + [Status.APPROVED]
    assert desk.push(most=2).more == 0
    assert desk.change(good[2]).status is Status.APPLIED


def test_the_plan_of_unknowns(file_desk: Desk) -> None:
    """A plan shows what a push will do with changes that may have been written already."""
    desk = file_desk
    done, lost, edited = (desk.approved(desk.draft(Action.UPDATE)) for _ in range(3))
    for change, kind in ((done, "drop_after"), (lost, "drop_before"), (edited, "drop_before")):
        path = f"/{change.milestone_id}$"
        desk.sandbox.misbehave(Fault(kind, method="PUT", path=path, times=1))
    desk.push(reconcile_after=240)
    early = desk.plan(reconcile_after=240)
    assert [type(step) for step in early] == [Deferred] * 3
    assert all("may still be at it" in step.why for step in early if isinstance(step, Deferred))
    desk.pass_time(241)
    desk.sandbox.account.update_milestone(str(edited.milestone_id), title="edited")
    with desk.ledger() as ledger:
        events = ledger.events()
    steps = desk.plan(reconcile_after=240)
    assert [type(step) for step in steps] == [NoOp, Write, Conflict]
    with desk.ledger() as ledger:
        assert ledger.events() == events
    desk.push(reconcile_after=240)
    assert [desk.sent(c) for c in (done, lost, edited)] == [1, 2, 1]
    statuses = [desk.change(c).status for c in (done, lost, edited)]
    assert statuses == [Status.APPLIED, Status.APPLIED, Status.CONFLICT]


def test_three_unknowns_in_a_row_stop_it(file_desk: Desk) -> None:
    """If nobody knows of three writes in a row, the others stay approved; exit 75."""
    desk = file_desk
    changes = [desk.approved(desk.draft(Action.UPDATE)) for _ in range(6)]
    desk.sandbox.misbehave(Fault("error", method="PUT"))
    result = desk.push(reconcile_after=240)
    assert isinstance(result.stopped, KantataOutcomeUnknown)
    assert (result.exit_code, result.more) == (75, 3)
    statuses = [desk.change(c).status for c in changes]
    assert statuses == [Status.UNKNOWN] * 3 + [Status.APPROVED] * 3
    desk.sandbox.behave()
    desk.pass_time(241)
    assert desk.push(reconcile_after=240).exit_code == 0
    assert [desk.sent(c) for c in changes] == [2, 2, 2, 1, 1, 1]


def test_three_forbidden_in_a_row_stop_it(file_desk: Desk) -> None:
    """If the token may not write, three changes fail and the others stay approved; exit 2."""
    desk = file_desk
    changes = [desk.approved(desk.draft(Action.UPDATE)) for _ in range(6)]
    desk.sandbox.misbehave(Fault("refuse", method="PUT", status=403))
    result = desk.push()
    assert isinstance(result.stopped, KantataForbidden)
    assert result.exit_code == 2
    statuses = [desk.change(c).status for c in changes]
    assert statuses == [Status.FAILED] * 3 + [Status.APPROVED] * 3


def test_some_trouble_stops_nothing(file_desk: Desk) -> None:
    """Trouble that is not three times the same in a row leaves the others their turn."""
    desk = file_desk
    changes = [desk.approved(desk.draft(Action.UPDATE)) for _ in range(6)]
    for number in (0, 1, 3, 4):
        path = f"/{changes[number].milestone_id}$"
        desk.sandbox.misbehave(Fault("refuse", method="PUT", path=path, status=403))
    assert desk.push().stopped is None
    assert [desk.change(c).status for c in changes].count(Status.APPLIED) == 2


def test_the_audit_names_what_was_made(file_desk: Desk) -> None:
    """The history of a create names its milestone, and its digest stays the one approved."""
    change = file_desk.approved(file_desk.draft(Action.CREATE))
    file_desk.push()
    now = file_desk.change(change)
    with file_desk.ledger() as ledger:
        assert ledger.events(change.change_id)[-1].what == f"done: milestone {now.milestone_id}"
    assert now.digest == now.approved_digest == change.digest


def test_one_lock_by_every_name(tmp_path: Path, file_desk: Desk) -> None:
    """A ledger reached through a link has the lock of the file itself."""
    file_desk.proposed(file_desk.draft(Action.UPDATE))
    link = tmp_path / "elsewhere" / "link.sqlite"
    link.parent.mkdir()
    link.symlink_to(file_desk.url.removeprefix("sqlite:///"))
    beside = Desk(file_desk.sandbox, f"sqlite:///{link}")
    with file_desk.ledger() as ledger, push_lock(ledger), pytest.raises(WarehouseBusy):
        beside.push()
