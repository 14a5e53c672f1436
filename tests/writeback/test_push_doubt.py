"""A push that cannot see the whole account settles only the outcomes it can see."""

from __future__ import annotations

import sqlite3
import threading
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
from warehouse.ledger.account_binding import bound_account
from warehouse.ledger.change import Action, Status
from warehouse.ledger.push_lock import push_lock


def test_a_create_in_a_hidden_project_stays_unknown(file_desk: Desk) -> None:
    """The empty list of an unreadable project does not prove that nothing was created."""
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


def test_a_create_in_an_unreadable_project_waits(file_desk: Desk) -> None:
    """A create that could not be read back is not sent, even if the write token could send it."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.account.hide_workspace(change.workspace_id)
    assert desk.push().exit_code == 3
    assert (desk.change(change).status, desk.sent(change)) == (Status.APPROVED, 0)


def test_a_project_with_missing_rows(file_desk: Desk) -> None:
    """A create waits while its project returns fewer rows than it counts; other changes do not."""
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
    """If the project becomes unreadable at the refusal, the outcome is unknown."""
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


def test_a_refusal_after_which_nothing_can_be_read_is_unknown(file_desk: Desk) -> None:
    """The push stops with the error of the read, and the next one settles the change."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.UPDATE))
    desk.sandbox.misbehave(
        Fault(
            "change", method="PUT", times=1,
            action=lambda _: desk.sandbox.misbehave(Fault("error", method="GET")),
        ),
        Fault("refuse", method="PUT", times=1),
    )  # fmt: skip
    assert desk.push().stopped is not None
    now = desk.change(change)
    assert now.status is Status.UNKNOWN
    assert "Kantata refused it (422" in now.outcome
    assert "cannot be read back" in now.outcome
    desk.sandbox.behave()
    desk.finish()
    assert desk.assert_true(change).status is Status.APPLIED


def test_a_refused_create_with_a_new_duplicate(file_desk: Desk) -> None:
    """If a create is refused and an equal milestone appeared, it is a conflict."""
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


def test_an_edit_during_a_slow_read(file_desk: Desk) -> None:
    """An edit made while the projects of creates are read slowly is not overwritten."""
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


def test_reads_too_slow_to_write(file_desk: Desk) -> None:
    """If every read is over five seconds old before the write, nothing is sent."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.UPDATE))
    id_ = str(change.milestone_id)
    desk.sandbox.misbehave(Fault("delay", method="GET", query={"only": id_}, seconds=5.1))
    result = desk.push()
    assert result.exit_code == 3
    assert "older than 5 s" in result.waiting[0][1]
    assert (desk.change(change).status, desk.sent(change)) == (Status.APPROVED, 0)
    with desk.ledger() as ledger:
        assert Status.APPLYING not in {event.after for event in ledger.events()}


def test_a_batch_that_the_ledger_delays_is_sent_alone(file_desk: Desk) -> None:
    """Creates that could not be marked within five seconds are sent one by one."""
    desk = file_desk
    desk.batch_creates = 2
    changes = [desk.approved(desk.draft(Action.CREATE)) for _ in range(2)]

    def lock(_account: object) -> None:
        other = sqlite3.connect(desk.url.partition("///")[2], check_same_thread=False)
        other.execute("begin immediate")
        threading.Timer(5.2, other.close).start()

    where = {"workspace_ids": changes[0].workspace_id}
    desk.sandbox.misbehave(Fault("change", method="GET", query=where, times=2, action=lock))
    assert desk.push().exit_code == 0
    assert [desk.assert_true(change).status for change in changes] == [Status.APPLIED] * 2
    assert desk.requests("POST") == 2


def test_altered_during_a_push(desk: Desk) -> None:
    """A change that is altered in the database during a push is not sent."""
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
    assert "it was altered in the ledger" in desk.change(second).outcome
    assert desk.sent(second) == 0


def test_another_currency(file_desk: Desk) -> None:
    """An amount approved in one currency is not created in another."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.account.update_workspace(change.workspace_id, currency="JPY")
    assert desk.push().exit_code == 3
    now = desk.change(change)
    assert (now.status, desk.sent(change)) == (Status.CONFLICT, 0)
    assert "currency was USD when it was proposed, and is JPY" in now.outcome


def test_unrequested_changes_are_reported(file_desk: Desk) -> None:
    """A field that changed with a write, without a request, is reported."""
    desk = file_desk
    id_ = desk.milestone()
    desk.sandbox.account.silently_update_milestone(id_, date_to_invoice="2027-01-01")
    request = replace(
        desk.draft(Action.UPDATE), milestone_id=id_, before=desk.image(id_),
        after={"amount_in_cents": 5},
    )  # fmt: skip
    desk.approved(request)
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
    assert "date_to_invoice is none instead of 2027-01-01" in result.doubts[0]
    assert f"change {create.change_id}" in result.doubts[1]
    assert "date_to_invoice is 2030-01-01 instead of none" in result.doubts[1]


def _give_dates(account: Account) -> None:
    for id_, record in list(account.milestones.items()):
        if str(record["title"]).startswith("made"):
            account.silently_update_milestone(id_, date_to_invoice="2030-01-01")


def test_a_found_create_is_compared(file_desk: Desk) -> None:
    """If a create is found with other values, ``reconcile`` reports it like a push."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.misbehave(Fault("drop_after", method="POST", times=1))
    desk.push()
    (made,) = desk.made_by(change)
    desk.sandbox.account.silently_update_milestone(made, amount_in_cents=123456)
    result = desk.reconcile()
    assert [c.status for c in result.changes] == [Status.APPLIED]
    assert result.exit_code == 3
    assert "amount is 1,234.56 USD instead of 0.07 USD" in result.doubts[0]
    with desk.ledger() as ledger:
        remark = ledger.events(change.change_id)[-1]
    assert (remark.who, remark.what in result.doubts[0]) == ("milestones push", True)


def test_found_by_its_reference_alone(file_desk: Desk) -> None:
    """A created milestone that was moved to another project is found and not created again."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.misbehave(Fault("drop_after", method="POST", times=1))
    desk.push()
    (made,) = desk.made_by(change)
    other = list(desk.sandbox.account.workspaces)[1]
    desk.sandbox.account.silently_update_milestone(made, workspace_id=other)
    assert desk.push().exit_code == 3  # it is in another project than requested
    assert (desk.change(change).status, desk.change(change).milestone_id) == (Status.APPLIED, made)
    assert desk.sent(change) == 1


def test_an_update_undone_by_a_person(file_desk: Desk) -> None:
    """An update that a person undid is not written again."""
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


@pytest.mark.long_on("postgres")
@pytest.mark.parametrize("skew", [timedelta(minutes=5), -timedelta(hours=2)])
def test_local_clocks_do_not_matter(desk: Desk, skew: timedelta) -> None:
    """An unknown outcome waits the same time, however wrong the local clock is."""
    change = desk.approved(desk.draft(Action.CREATE))
    desk.sandbox.misbehave(Fault("error", method="POST", times=1, executed=True))
    desk.push(reconcile_after=240)
    desk.now += skew
    assert len(desk.push(reconcile_after=240).waiting) == 1
    desk.sandbox.account.advance(241)
    assert desk.push(reconcile_after=240).exit_code == 0
    assert desk.assert_true(change).status is Status.APPLIED
    assert desk.sent(change) == 1


def test_what_an_interrupted_push_was_sending(file_desk: Desk) -> None:
    """It is read back: what arrived is not sent again, what did not is approved as before."""
    desk = file_desk
    arrived, lost = changes = [desk.approved(desk.draft(Action.UPDATE)) for _ in range(2)]
    with desk.ledger() as ledger:
        for change in changes:
            seen = desk.sandbox.account.milestone(change.milestone_id)["updated_at"]
            ledger.mark_sending(
                change, who="a killed push", what="sending", at=desk.now, seen_updated_at=seen
            )
    desk.sandbox.account.update_milestone(arrived.milestone_id, **arrived.after)
    assert len(desk.reconcile(reconcile_after=240).waiting) == 2
    assert {desk.change(change).status for change in changes} == {Status.UNKNOWN}
    desk.reconcile()
    assert [desk.change(change).status for change in changes] == [Status.APPLIED, Status.APPROVED]
    assert desk.change(lost).resends == 0  # only creates are counted
    assert desk.push().exit_code == 0
    assert desk.assert_true(lost).status is Status.APPLIED
    assert [desk.sent(change) for change in changes] == [0, 1]


@pytest.mark.long_on("postgres")
def test_sent_at_a_future_time(desk: Desk) -> None:
    """A sending time in the future does not make a change wait longer than usual."""
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
        texts = [event.what for event in ledger.events(change.change_id)]
    assert sum("clock that was ahead" in what for what in texts) == 1


def test_sent_without_a_time(file_desk: Desk) -> None:
    """An unknown change that has no time of sending is read back at once."""
    desk = file_desk
    change = desk.approved(desk.draft(Action.DELETE))
    with desk.ledger() as ledger:
        sent = ledger.mark_sending(change, who="an older release", what="sending", at=desk.now)
        ledger.transition(sent, Status.UNKNOWN, who="x", what="no answer", sent_at=None)
    desk.reconcile(reconcile_after=240)
    assert desk.change(change).status is Status.APPROVED


def test_an_equal_milestone_in_a_list_that_moves(file_desk: Desk) -> None:
    """A duplicate is found even if a row is deleted while its project is read."""
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
    for duplicate in (here[199], here[200], here[-200], here[-201]):  # next to the ends of pages
        after = {**change.after, "date_to_invoice": None}
        before = {name: account.milestones[duplicate][name] for name in after}
        account.silently_update_milestone(duplicate, **after)
        for deleted in (ids[-1], ids[0]):
            record = dict(account.true_milestones[deleted])
            for page in ("1", "2", "3"):
                desk.sandbox.misbehave(
                    Fault(
                        "change", method="GET", times=1,
                        query={"workspace_ids": project, "page": page},
                        action=lambda a, deleted=deleted: a.true_milestones.get(deleted)
                        and a.delete_milestone(deleted),
                    )
                )  # fmt: skip
                (step,) = desk.plan()
                assert isinstance(step, Conflict), (page, deleted)
                assert duplicate in step.why
                desk.sandbox.behave()
                if deleted not in account.true_milestones:
                    account.restore_milestone(record)
        account.silently_update_milestone(duplicate, **before)


@pytest.mark.long_on("postgres")
def test_one_account_for_a_ledger(desk: Desk) -> None:
    """A ledger's changes go to one account only; another port is the same account."""
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
        for command in (desk.plan, desk.reconcile, desk.push):
            with pytest.raises(WarehouseMisconfigured, match="account 4711 at this machine/api/v1"):
                command()
        assert (desk.change(change).status, desk.sent(change)) == (Status.APPROVED, 0)


def test_planning_binds_nothing(file_desk: Desk) -> None:
    """A plan does not bind the ledger to an account; only a push does."""
    file_desk.approved(file_desk.draft(Action.UPDATE))
    file_desk.plan()
    with file_desk.ledger() as ledger:
        assert bound_account(ledger) is None


def test_changes_beyond_the_limit_are_counted(file_desk: Desk) -> None:
    """Changes beyond ``max_changes`` are counted; those that wait do not use up the limit."""
    desk = file_desk
    other = list(desk.sandbox.account.workspaces)[1]
    hidden, good = [], []
    for number in range(3):
        id_ = desk.sandbox.account.create_milestone(
            title=f"other {number}", workspace_id=other, billing_type="fixed_date", story_id=None,
            invoice_id=None, amount_in_cents=3,
        )  # fmt: skip
        request = replace(
            desk.draft(Action.UPDATE), milestone_id=id_, workspace_id=other,
            before=desk.image(id_), after={"title": f"new {number}"},
        )  # fmt: skip
        good.append(desk.approved(request))
        if number == 0:  # they wait between others
            hidden = [desk.approved(desk.draft(Action.UPDATE)) for _ in range(2)]
    desk.sandbox.account.hide_workspace(hidden[0].workspace_id)
    kinds = [type(step) for step in desk.plan(most=2)]
    assert kinds == [Write, Deferred, Deferred, Write, Deferred]
    result = desk.push(most=2)
    assert (len(result.waiting), result.more) == (2, 1)
    assert [desk.change(c).status for c in good] == [Status.APPLIED] * 2 + [Status.APPROVED]
    assert desk.push(most=2).more == 0
    assert desk.change(good[2]).status is Status.APPLIED


def test_the_plan_of_unknowns(file_desk: Desk) -> None:
    """A plan shows what a push will do with changes of unknown outcome."""
    desk = file_desk
    done, lost, edited = (desk.approved(desk.draft(Action.UPDATE)) for _ in range(3))
    for change, kind in ((done, "drop_after"), (lost, "drop_before"), (edited, "drop_before")):
        path = f"/{change.milestone_id}$"
        desk.sandbox.misbehave(Fault(kind, method="PUT", path=path, times=1))
    desk.push(reconcile_after=240)
    early = desk.plan(reconcile_after=240)
    assert [type(step) for step in early] == [Deferred] * 3
    assert all("may still process it" in step.why for step in early if isinstance(step, Deferred))
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


def test_three_unknowns_in_a_row_stop_the_push(file_desk: Desk) -> None:
    """After three unknown outcomes in a row the others stay approved; the exit code is 75."""
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


def test_three_forbidden_in_a_row_stop_the_push(file_desk: Desk) -> None:
    """After three 403 in a row the others stay approved; the exit code is 2."""
    desk = file_desk
    changes = [desk.approved(desk.draft(Action.UPDATE)) for _ in range(6)]
    desk.sandbox.misbehave(Fault("refuse", method="PUT", status=403))
    result = desk.push()
    assert isinstance(result.stopped, KantataForbidden)
    assert result.exit_code == 2
    statuses = [desk.change(c).status for c in changes]
    assert statuses == [Status.FAILED] * 3 + [Status.APPROVED] * 3


def test_separate_failures_do_not_stop_the_push(file_desk: Desk) -> None:
    """Failures that are not three in a row do not stop the other changes."""
    desk = file_desk
    changes = [desk.approved(desk.draft(Action.UPDATE)) for _ in range(6)]
    for number in (0, 1, 3, 4):
        path = f"/{changes[number].milestone_id}$"
        desk.sandbox.misbehave(Fault("refuse", method="PUT", path=path, status=403))
    assert desk.push().stopped is None
    assert [desk.change(c).status for c in changes].count(Status.APPLIED) == 2


def test_the_audit_names_the_created_milestone(file_desk: Desk) -> None:
    """The last event of a create names its milestone; its digest stays the approved one."""
    change = file_desk.approved(file_desk.draft(Action.CREATE))
    file_desk.push()
    now = file_desk.change(change)
    with file_desk.ledger() as ledger:
        assert ledger.events(change.change_id)[-1].what == f"done: milestone {now.milestone_id}"
    assert now.digest == now.approved_digest == change.digest


def test_a_link_has_the_lock_of_its_file(tmp_path: Path, file_desk: Desk) -> None:
    """A ledger opened through a link uses the lock of the file itself."""
    file_desk.proposed(file_desk.draft(Action.UPDATE))
    link = tmp_path / "elsewhere" / "link.sqlite"
    link.parent.mkdir()
    link.symlink_to(file_desk.url.removeprefix("sqlite:///"))
    linked = Desk(file_desk.sandbox, f"sqlite:///{link}")
    with file_desk.ledger() as ledger, push_lock(ledger), pytest.raises(WarehouseBusy):
        linked.push()
