"""Creates that equal each other, or a milestone that the same push makes equal."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sources.kantata_sandbox import Fault
from tests.support.office import Office
from tests.support.writing_desk import Desk
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Action, Change, Draft, Status

BATCHES = pytest.mark.parametrize("batch_creates", [1, 10])


@pytest.mark.parametrize("job", ["duckdb"], indirect=True)
def test_a_create_that_equals_an_open_duplicate_is_refused(office: Office) -> None:
    """An open create counts, also one that was proposed as a duplicate."""
    project = next(iter(office.sandbox.account.workspaces))
    words = ("propose", "create", "--set", f"workspace_id={project}", "--set", "title=Phase 2")
    words += ("--set", "amount=1000", "--set", "date_to_invoice=2027-05-01", "--reason", "r")
    assert office.run(*words, "--as", "ann", "--allow-duplicate")[0] == 0
    code, said = office.run(*words, "--as", "carl")
    assert (code, "To create another one, add --allow-duplicate" in said) == (2, True), said
    assert office.run(*words, "--as", "carl", "--allow-duplicate")[0] == 0


@BATCHES
def test_a_push_reads_again_before_an_equal_create(file_desk: Desk, batch_creates: int) -> None:
    """What it just created counts: a create that may not be a duplicate is a conflict."""
    desk = file_desk
    desk.batch_creates = batch_creates
    draft = desk.draft(Action.CREATE)
    intended, plain = desk.approved(replace(draft, duplicate=True)), desk.approved(draft)
    assert desk.push().exit_code == 3
    statuses = [desk.change(change).status for change in (intended, plain)]
    assert statuses == [Status.APPLIED, Status.CONFLICT]
    assert len(desk.made_by(plain)) == 1


def test_an_update_that_makes_a_milestone_equal(file_desk: Desk) -> None:
    """A create of the same push that equals it then is a conflict."""
    desk = file_desk
    id_, draft = desk.milestone(), desk.draft(Action.CREATE)
    before = desk.image(id_)
    after = {name: draft.after.get(name) for name in ("title", "amount_in_cents")}
    update = desk.approved(
        Draft(Action.UPDATE, id_, str(before["workspace_id"]), "USD", after, before, "test", "ann")
    )
    day = {"date_to_invoice": before["date_to_invoice"]} if before["date_to_invoice"] else {}
    create = desk.approved(replace(draft, after={**draft.after, **day}))
    desk.push()
    assert desk.change(update).status is Status.APPLIED
    assert (desk.change(create).status, desk.sent(create)) == (Status.CONFLICT, 0)


@BATCHES
def test_a_duplicate_without_an_answer(file_desk: Desk, batch_creates: int) -> None:
    """The equal milestone that the push created before is not taken for its own."""
    desk = file_desk
    desk.batch_creates = batch_creates
    draft = desk.draft(Action.CREATE)
    plain, intended = desk.approved(draft), desk.approved(replace(draft, duplicate=True))
    desk.sandbox.misbehave(Fault("error", method="POST", skip=1, times=1))
    desk.push(reconcile_after=240)
    assert desk.change(plain).status is Status.APPLIED
    assert desk.change(intended).status is Status.UNKNOWN
    for _ in range(2):
        desk.pass_time(300)
        desk.push(reconcile_after=240)
    found = [desk.change(change) for change in (plain, intended)]
    assert [change.status for change in found] == [Status.APPLIED] * 2
    assert len({change.milestone_id for change in found}) == len(desk.made_by(plain)) == 2


def _without_answer(desk: Desk, draft: Draft) -> Change:
    """A duplicate whose outcome is unknown, and may be settled by hand."""
    change = desk.approved(replace(draft, duplicate=True))
    desk.sandbox.misbehave(Fault("error", method="POST", times=1))
    desk.push(reconcile_after=240)
    desk.sandbox.behave()
    desk.pass_time(300)
    return change


def test_a_milestone_of_another_change_settles_nothing(file_desk: Desk) -> None:
    """Neither one that another change created, nor one that was there before."""
    desk = file_desk
    draft = desk.draft(Action.CREATE)
    first = desk.approved(draft)
    desk.push()
    made = desk.change(first).milestone_id
    second = _without_answer(desk, draft)
    with pytest.raises(ChangeRefused, match=f"{made} was created by another change"):
        desk.settle(second, made, reconcile_after=240)
    assert desk.change(second).status is Status.UNKNOWN
    older = desk.sandbox.account.create_milestone(**dict(draft.after))
    third = _without_answer(desk, draft)
    with pytest.raises(ChangeRefused, match=f"{older} was there before"):
        desk.settle(third, older, reconcile_after=240)


def test_a_long_wait_of_a_create_ends_the_push(file_desk: Desk) -> None:
    """It does not hold the push lock for as long as Kantata says."""
    desk = file_desk
    creates = [desk.approved(desk.draft(Action.CREATE)) for _ in range(3)]
    desk.sandbox.misbehave(Fault("throttle", method="POST", skip=1, times=1, retry_after=100_000))
    assert desk.push().exit_code == 75
    statuses = [desk.change(change).status for change in creates]
    assert statuses == [Status.APPLIED, Status.UNKNOWN, Status.APPROVED]
