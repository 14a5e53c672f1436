"""The plan: what is written, what is not and why, for each state of the account."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from pipelines.writeback.account_state import AccountState, MilestoneState
from pipelines.writeback.milestone import differences, expected_image
from pipelines.writeback.plan import (
    Conflict,
    Deferred,
    NoOp,
    Step,
    Write,
    build_plan,
    limit_steps,
)
from pipelines.writeback.settlement import (
    settle,
    settle_refused,
    settle_refused_batch,
    settle_throttled,
)
from warehouse.ledger.change import Action, Change, Image, Status

BEFORE_SENT, SENT, AFTER_SENT = (datetime(2027, 1, day, 12, tzinfo=UTC) for day in (1, 2, 3))
KICK_OFF = {
    "title": "Kick-off",
    "amount_in_cents": 50_000,
    "currency": "USD",
    "billing_type": "fixed_date",
    "date_to_invoice": "2027-03-31",
    "workspace_id": "3",
    "story_id": None,
    "invoice_id": None,
    "invoice_ids": None,
}
NEW = {
    "workspace_id": "3",
    "title": "Go-live",
    "amount_in_cents": 9_900,
    "billing_type": "fixed_date",
}
NO_OTHER = frozenset({"7"})
DOLLARS = {"USD": Decimal("0.01")}


def change(action: Action, **fields: object) -> Change:
    """An approved change of milestone 7, or of project 3, that was never sent."""
    made = Change(
        **{
            "action": action,
            "milestone_id": "7",
            "workspace_id": "3",
            "currency": "USD",
            "after": {},
            "before": KICK_OFF,
            "reason": "as agreed",
            "proposer": "ann",
            "change_id": "c1",
            "status": Status.APPROVED,
        }
        | fields
    )
    return replace(made, approved_digest=made.digest)


def update(**fields: object) -> Change:
    """A change of the amount to 600.00."""
    return change(Action.UPDATE, **{"after": {"amount_in_cents": 60_000}} | fields)


def delete(**fields: object) -> Change:
    """A deletion of the milestone."""
    return change(Action.DELETE, **fields)


def create(**fields: object) -> Change:
    """A create of NEW in project 3."""
    return change(Action.CREATE, **{"milestone_id": None, "before": {}, "after": NEW} | fields)


def sent(made: Change, **fields: object) -> Change:
    """The change after it was sent once and its answer was lost."""
    lost = {"status": Status.UNKNOWN, "attempts": 1, "sent_at": SENT}
    seen = None if made.action is Action.CREATE else BEFORE_SENT.isoformat()
    return replace(made, **lost | {"seen_updated_at": seen} | fields)


def milestone(
    invoiced: str = "", updated_at: datetime | str | None = BEFORE_SENT, **fields: object
) -> MilestoneState:
    """Milestone 7 as it was at the proposal, except for these fields."""
    at = updated_at.isoformat() if isinstance(updated_at, datetime) else updated_at
    return MilestoneState(KICK_OFF | fields, invoiced, at)


def account(seen: MilestoneState | None = None, **parts: object) -> AccountState:
    """An account with milestone 7, whose project 3 has no milestone like NEW."""
    return AccountState(
        **{
            "milestones": {"7": seen or milestone()},
            "project_milestones": {"7": seen or milestone()},
            "project_currencies": {"3": "USD"},
            "units": DOLLARS,
        }
        | parts
    )


def without_milestone(**parts: object) -> AccountState:
    """An account whose lists do not show milestone 7."""
    return account(milestones={}, **parts)


def project(*ids: str, **fields: object) -> dict[str, MilestoneState]:
    """Milestones like NEW, except for these fields."""
    return {id_: MilestoneState(KICK_OFF | {"date_to_invoice": None} | NEW | fields) for id_ in ids}


@dataclass(frozen=True)
class Expected:
    """An expected step or settlement."""

    kind: object
    words: tuple[str, ...] = ()
    milestone_id: str | None = None
    twins: tuple[str, ...] = ()
    seen_updated_at: str | None = None


def write(*twins: str) -> Expected:
    """A write that records these equal milestones."""
    return Expected(Write, twins=twins)


def write_over(updated_at: datetime | str = BEFORE_SENT) -> Expected:
    """A write that records when its milestone was last changed."""
    at = updated_at.isoformat() if isinstance(updated_at, datetime) else updated_at
    return Expected(Write, seen_updated_at=at)


def no_op(milestone_id: str, *words: str) -> Expected:
    """A step without a write, since the account is already as approved."""
    return Expected(NoOp, words, milestone_id)


def conflict(*words: str) -> Expected:
    """A conflict, since the account or the change is not what was approved."""
    return Expected(Conflict, words)


def later(*words: str) -> Expected:
    """A step that is deferred."""
    return Expected(Deferred, words)


PLANS = {
    # updates
    "an update of a milestone as it was proposed is written": (
        update(), account(), write_over(BEFORE_SENT),
    ),
    "the time of the last change is kept as Kantata wrote it": (
        update(), account(milestone(updated_at="2027-01-01T04:00:00-08:00")),
        write_over("2027-01-01T04:00:00-08:00"),
    ),
    "a milestone that was changed and is as proposed is written over": (
        update(), account(milestone(updated_at=AFTER_SENT)), write_over(AFTER_SENT),
    ),
    "a milestone that has the new amount needs nothing": (
        update(), account(milestone(amount_in_cents=60_000)), no_op("7"),
    ),
    "an invoiced milestone that has the new amount needs nothing": (
        update(), account(milestone(invoiced="invoice 1850", amount_in_cents=60_000)), no_op("7"),
    ),
    "a milestone with the new amount and another title needs nothing": (
        update(), account(milestone(amount_in_cents=60_000, title="Other")), no_op("7"),
    ),
    "a milestone with one of two new values is a conflict": (
        update(after={"amount_in_cents": 60_000, "title": "Start"}),
        account(milestone(amount_in_cents=60_000)), conflict("amount", "500.00 USD", "600.00 USD"),
    ),
    "an invoiced milestone is a conflict": (
        update(), account(milestone(invoiced="on invoice 1850")), conflict("invoice 1850"),
    ),
    "an invoiced and edited milestone is a conflict by its invoice": (
        update(), account(milestone(invoiced="on invoice 1850", title="Other")),
        conflict("invoice 1850"),
    ),
    "another amount than was proposed is a conflict": (
        update(), account(milestone(amount_in_cents=55_000)),
        conflict("amount", "500.00 USD", "550.00 USD"),
    ),
    "another title is a conflict though only the amount is asked": (
        update(), account(milestone(title="Other")), conflict("title", "Kick-off", "Other"),
    ),
    "a date that was removed is a conflict": (
        update(), account(milestone(date_to_invoice=None)),
        conflict("date_to_invoice", "2027-03-31", "none"),
    ),
    "a task that was added is a conflict": (
        update(), account(milestone(story_id="12")), conflict("story_id", "none", "12"),
    ),
    "another currency is a conflict, and so is its amount's meaning": (
        update(), account(milestone(currency="EUR")), conflict("currency", "USD", "EUR"),
    ),
    "every edit is named": (
        update(), account(milestone(title="Other", amount_in_cents=1)),
        conflict("title was Kick-off, is Other; amount was 500.00 USD, is 0.01 USD"),
    ),
    "an amount whose unit is unknown is shown in minor units": (
        update(), account(milestone(amount_in_cents=55_000), units={}),
        conflict("50,000", "55,000", "USD"),
    ),
    "a field the account does not show any more is a conflict": (
        update(), account(MilestoneState({k: v for k, v in KICK_OFF.items() if k != "title"})),
        conflict("title", "Kick-off", "none"),
    ),
    "an update of a deleted milestone is a conflict": (
        update(), without_milestone(deleted=NO_OTHER), conflict("deleted"),
    ),
    "an update of a milestone that cannot be read waits": (
        update(), without_milestone(unreadable={"7": "project 3 cannot be read"}),
        later("project 3"),
    ),
    "a milestone that may be deleted, but cannot be read, waits": (
        update(), without_milestone(deleted=NO_OTHER, unreadable={"7": "no permission"}),
        later("no permission"),
    ),
    "another unreadable milestone does not matter": (
        update(), account(unreadable={"8": "no permission"}), write_over(),
    ),
    "another deleted milestone does not matter": (
        update(), account(deleted=frozenset({"8"})), write_over(),
    ),
    "a closed project does not matter to an update": (
        update(), account(unreadable_projects={"3": "cannot be read"}), write_over(),
    ),
    # deletes
    "a deletion of a milestone as it was proposed is written": (
        delete(), account(), write_over(BEFORE_SENT),
    ),
    "a deletion of a deleted milestone needs nothing": (
        delete(), without_milestone(deleted=NO_OTHER), no_op("7"),
    ),
    "a deletion of an invoiced milestone is a conflict": (
        delete(), account(milestone(invoiced="on invoice 1850")), conflict("invoice 1850"),
    ),
    "a deletion of an edited milestone is a conflict": (
        delete(), account(milestone(title="Other")), conflict("title", "Other"),
    ),
    "a deletion of a milestone that cannot be read waits": (
        delete(), without_milestone(unreadable={"7": "no permission"}), later("no permission"),
    ),
    # creates
    "a create in a project without an equal milestone is written": (create(), account(), write()),
    "a create in a project without milestones is written": (
        create(), account(project_milestones={}), write(),
    ),
    "a create in a project that cannot be read waits": (
        create(), account(unreadable_projects={"3": "project 3 cannot be read"}),
        later("project 3"),
    ),
    "another closed project does not matter": (
        create(), account(unreadable_projects={"4": "cannot be read"}), write(),
    ),
    "an equal milestone is a conflict": (
        create(), account(project_milestones=project("21")), conflict("21"),
    ),
    "every equal milestone is named": (
        create(), account(project_milestones=project("21", "22")), conflict("21, 22"),
    ),
    "a milestone with another amount is not equal": (
        create(), account(project_milestones=project("21", amount_in_cents=1)), write(),
    ),
    "a milestone with another title is not equal": (
        create(), account(project_milestones=project("21", title="Go-Live")), write(),
    ),
    "a milestone with another date is not equal": (
        create(), account(project_milestones=project("21", date_to_invoice="2027-03-31")), write(),
    ),
    "a milestone of another project is not equal": (
        create(), account(project_milestones=project("21", workspace_id="4")), write(),
    ),
    "a milestone with another billing type is equal": (
        create(), account(project_milestones=project("21", billing_type="upon_completion")),
        conflict("21"),
    ),
    "a meant duplicate is written, and knows its equal": (
        create(duplicate=True), account(project_milestones=project("21")), write("21"),
    ),
    "an equal milestone that was there before the first try is no news": (
        create(attempts=1, twins=("21",)), account(project_milestones=project("21")), write("21"),
    ),
    "an equal milestone that came since the first try is a conflict": (
        create(attempts=1, twins=("21",)), account(project_milestones=project("21", "22")),
        conflict("22"),
    ),
    "a meant duplicate that was sent before is not written over a new equal": (
        create(duplicate=True, attempts=1), account(project_milestones=project("21")),
        conflict("21"),
    ),
    "equals known before do not count until it was sent": (
        create(twins=("21",)), account(project_milestones=project("21")), conflict("21"),
    ),
    "a milestone that carries the change's id was made already": (
        create(), account(created={"c1": frozenset({"31"})}), no_op("31", "31"),
    ),
    "a milestone that carries the change's id counts before its currency and equals": (
        create(),
        account(
            created={"c1": frozenset({"31"})}, project_currencies={},
            project_milestones=project("31"),
        ),
        no_op("31", "31"),
    ),
    "a milestone that carries another change's id does not count": (
        create(), account(created={"c2": frozenset({"31"})}), write(),
    ),
    "two milestones with the change's id are a conflict": (
        create(), account(created={"c1": frozenset({"32", "31"})}), conflict("31, 32"),
    ),
    "a project whose currency changed is a conflict": (
        create(), account(project_currencies={"3": "EUR"}), conflict("currency", "USD", "EUR"),
    ),
    "a project that has lost its currency is a conflict": (
        create(), account(project_currencies={"3": None}), conflict("currency", "USD", "none"),
    ),
    "a project that has got a currency is a conflict": (
        create(currency=None), account(), conflict("currency", "none", "USD"),
    ),
    "a project without a currency, as proposed, is written to": (
        create(currency=None), account(project_currencies={"3": None}), write(),
    ),
}  # fmt: skip


def matches(step: Step, change: Change, wanted: Expected) -> bool:
    """Whether a step of this change is as expected."""
    if isinstance(step, Write):
        return step == Write(change, wanted.twins, wanted.seen_updated_at)
    return (
        step.change is change
        and all(word in step.why for word in wanted.words)
        and bool(step.why)
        and getattr(step, "milestone_id", None) == wanted.milestone_id
    )


@pytest.mark.parametrize(("change", "live", "wanted"), PLANS.values(), ids=PLANS)
def test_plan(change: Change, live: AccountState, wanted: Expected) -> None:
    """Each approved change has one step, which depends only on the account."""
    (step,) = build_plan([change], live, untrusted={}, not_again={})
    assert type(step) is wanted.kind
    assert matches(step, change, wanted), step


SETTLED = {
    # updates
    "a milestone that has the new amount: it was written": (
        sent(update()), account(milestone(updated_at=AFTER_SENT, amount_in_cents=60_000)),
        Expected(Status.APPLIED, milestone_id="7"),
    ),
    "a milestone that has the new amount and was invoiced since: it was written": (
        sent(update()), account(milestone(invoiced="invoice 1850", amount_in_cents=60_000)),
        Expected(Status.APPLIED, milestone_id="7"),
    ),
    "a milestone that is as it was: it never arrived": (
        sent(update()), account(), Expected(Status.APPROVED, milestone_id="7"),
    ),
    "the same moment in another offset is no change": (
        sent(update(), seen_updated_at="2027-01-01T13:00:00+01:00"), account(),
        Expected(Status.APPROVED, milestone_id="7"),
    ),
    "a milestone as it was that was changed meanwhile is a conflict": (
        sent(update()), account(milestone(updated_at=AFTER_SENT)),
        Expected(Status.CONFLICT, milestone_id="7"),
    ),
    "a change before the request, but after it was read, is one, too": (
        sent(update()), account(milestone(updated_at=datetime(2027, 1, 1, 13, tzinfo=UTC))),
        Expected(Status.CONFLICT, milestone_id="7"),
    ),
    "a time that cannot be read any more is a conflict": (
        sent(update()), account(milestone(updated_at=None)),
        Expected(Status.CONFLICT, milestone_id="7"),
    ),
    "a time that is no time is compared as text": (
        sent(update(), seen_updated_at="yesterday"), account(milestone(updated_at="yesterday")),
        Expected(Status.APPROVED, milestone_id="7"),
    ),
    "another text that is no time is a conflict": (
        sent(update(), seen_updated_at="yesterday"), account(milestone(updated_at="today")),
        Expected(Status.CONFLICT, milestone_id="7"),
    ),
    "a time without an offset is compared as text": (
        sent(update(), seen_updated_at="2027-01-01T12:00:00"),
        account(milestone(updated_at="2027-01-01T12:00:00")),
        Expected(Status.APPROVED, milestone_id="7"),
    ),
    "of a restored ledger: changed at the moment of the approval": (
        sent(update(), seen_updated_at=f"<={SENT.isoformat()}"),
        account(milestone(updated_at=SENT)), Expected(Status.APPROVED, milestone_id="7"),
    ),
    "of a restored ledger: changed after the approval": (
        sent(update(), seen_updated_at=f"<={SENT.isoformat()}"),
        account(milestone(updated_at=AFTER_SENT)),
        Expected(Status.CONFLICT, ("edited after this change was approved",), "7"),
    ),
    "of a restored ledger: a time that is no time": (
        sent(update(), seen_updated_at=f"<={SENT.isoformat()}"),
        account(milestone(updated_at="yesterday")), Expected(Status.CONFLICT, milestone_id="7"),
    ),
    "of an earlier release: changed before it was sent": (
        sent(update(), seen_updated_at=None), account(),
        Expected(Status.APPROVED, milestone_id="7"),
    ),
    "of an earlier release: changed at the moment it was sent": (
        sent(update(), seen_updated_at=None), account(milestone(updated_at=SENT)),
        Expected(Status.APPROVED, milestone_id="7"),
    ),
    "of an earlier release: changed after it was sent": (
        sent(update(), seen_updated_at=None), account(milestone(updated_at=AFTER_SENT)),
        Expected(Status.CONFLICT, milestone_id="7"),
    ),
    "of an earlier release: without the time it was sent": (
        sent(update(), seen_updated_at=None, sent_at=None),
        account(milestone(updated_at=AFTER_SENT)), Expected(Status.APPROVED, milestone_id="7"),
    ),
    "of an earlier release: a time without an offset": (
        sent(update(), seen_updated_at=None), account(milestone(updated_at="2027-01-03T12:00:00")),
        Expected(Status.APPROVED, milestone_id="7"),
    ),
    "of an earlier release: a time that is no time": (
        sent(update(), seen_updated_at=None), account(milestone(updated_at="yesterday")),
        Expected(Status.APPROVED, milestone_id="7"),
    ),
    "a milestone that is neither as it was nor as asked is a conflict": (
        sent(update()), account(milestone(amount_in_cents=55_000)),
        Expected(Status.CONFLICT, ("500.00 USD", "550.00 USD"), "7"),
    ),
    "a milestone that was invoiced meanwhile is a conflict": (
        sent(update()), account(milestone(invoiced="on invoice 1850")),
        Expected(Status.CONFLICT, ("invoice 1850",), "7"),
    ),
    "a milestone that was deleted meanwhile is a conflict": (
        sent(update()), without_milestone(deleted=NO_OTHER),
        Expected(Status.CONFLICT, ("deleted",), "7"),
    ),
    "a milestone that cannot be read says nothing": (
        sent(update()), without_milestone(deleted=NO_OTHER, unreadable={"7": "no permission"}),
        None,
    ),
    # deletes
    "a milestone that no longer exists was deleted": (
        sent(delete()), without_milestone(deleted=NO_OTHER),
        Expected(Status.APPLIED, milestone_id="7"),
    ),
    "a milestone that is still there as it was: it was not deleted": (
        sent(delete()), account(), Expected(Status.APPROVED, milestone_id="7"),
    ),
    "a milestone that was only touched: it was not deleted": (
        sent(delete()), account(milestone(updated_at=AFTER_SENT)),
        Expected(Status.APPROVED, milestone_id="7"),
    ),
    "a milestone to delete that was edited is a conflict": (
        sent(delete()), account(milestone(title="Other")),
        Expected(Status.CONFLICT, ("title", "Other"), "7"),
    ),
    "a milestone to delete that was invoiced is a conflict": (
        sent(delete()), account(milestone(invoiced="on invoice 1850")),
        Expected(Status.CONFLICT, ("invoice 1850",), "7"),
    ),
    "a milestone to delete that cannot be read says nothing": (
        sent(delete()), without_milestone(unreadable={"7": "no permission"}), None,
    ),
    # creates
    "one milestone with the change's id: it was made": (
        sent(create()), account(created={"c1": frozenset({"31"})}),
        Expected(Status.APPLIED, ("31",), "31"),
    ),
    "its equals do not matter then": (
        sent(create()),
        account(created={"c1": frozenset({"31"})}, project_milestones=project("31", "32")),
        Expected(Status.APPLIED, ("31",), "31"),
    ),
    "two milestones with the change's id are a conflict to settle": (
        sent(create()), account(created={"c1": frozenset({"32", "31"})}),
        Expected(Status.CONFLICT, ("31, 32",)),
    ),
    "no milestone like it: it was never made": (
        sent(create()), account(), Expected(Status.APPROVED),
    ),
    "a new equal without the id may be its own, and is a conflict": (
        sent(create()), account(project_milestones=project("21")),
        Expected(Status.CONFLICT, ("21",)),
    ),
    "an equal from before says nothing: it was never made": (
        sent(create(), twins=("21",)), account(project_milestones=project("21")),
        Expected(Status.APPROVED),
    ),
    "of equals only the new ones are named": (
        sent(create(), twins=("21",)), account(project_milestones=project("21", "22")),
        Expected(Status.CONFLICT, ("22",)),
    ),
    "a meant duplicate with a new equal is a conflict, too": (
        sent(create(duplicate=True)), account(project_milestones=project("21")),
        Expected(Status.CONFLICT, ("21",)),
    ),
    "every new equal is named": (
        sent(create()), account(project_milestones=project("21", "22")),
        Expected(Status.CONFLICT, ("21, 22",)),
    ),
    "a project that cannot be read says nothing": (
        sent(create()),
        account(created={"c1": frozenset({"31"})}, unreadable_projects={"3": "cannot be read"}),
        None,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "live", "wanted"), SETTLED.values(), ids=SETTLED)
def test_settlement(change: Change, live: AccountState, wanted: Expected | None) -> None:
    """An unknown outcome is settled by reading back, or stays unknown."""
    found = settle(change, live)
    if wanted is None:
        assert found is None
        return
    assert found is not None
    assert (found.status, found.milestone_id) == (wanted.kind, wanted.milestone_id)
    assert found.why
    assert all(word in found.why for word in wanted.words), found.why
    assert "21" not in found.why or "21" in "".join(
        wanted.words
    )  # an equal from before is not named


UNKNOWN_PLANS = {
    "an update that was written needs nothing": (
        sent(update()), account(milestone(amount_in_cents=60_000)), no_op("7"),
    ),
    "an update that never arrived is written again": (
        sent(update()), account(), write_over(BEFORE_SENT),
    ),
    "an update that was on its way when it was killed is settled as well": (
        sent(update(), status=Status.APPLYING), account(milestone(updated_at=AFTER_SENT)),
        conflict(),
    ),
    "an update of a milestone in doubt is a conflict": (
        sent(update()), account(milestone(updated_at=AFTER_SENT)), conflict(),
    ),
    "an approved update is not in doubt": (
        sent(update(), status=Status.APPROVED), account(milestone(updated_at=AFTER_SENT)),
        write_over(AFTER_SENT),
    ),
    "an unreadable milestone waits": (
        sent(update()), without_milestone(unreadable={"7": "no permission"}),
        later("no permission"),
    ),
    "a create that was made needs nothing": (
        sent(create()), account(created={"c1": frozenset({"31"})}), no_op("31", "31"),
    ),
    "a create that was never made is written again": (
        sent(create(), twins=("21",)), account(project_milestones=project("21")), write("21"),
    ),
    "a create that was never made is not written in another currency": (
        sent(create()), account(project_currencies={"3": "EUR"}), conflict("EUR"),
    ),
    "a create in a closed project waits": (
        sent(create()), account(unreadable_projects={"3": "cannot be read"}),
        later("cannot be read"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "live", "wanted"), UNKNOWN_PLANS.values(), ids=UNKNOWN_PLANS)
def test_plan_of_an_unknown_outcome(change: Change, live: AccountState, wanted: Expected) -> None:
    """The plan of a change with an unknown outcome follows its settlement."""
    (step,) = build_plan([change], live, untrusted={}, not_again={})
    assert type(step) is wanted.kind
    assert matches(step, change, wanted), step


UNTRUSTED = {
    "an approved change": (update(), account()),
    "a change that Kantata already has": (
        update(), account(milestone(amount_in_cents=60_000)),
    ),
    "a deletion of a deleted milestone": (delete(), without_milestone(deleted=NO_OTHER)),
    "a create that was never received": (sent(create()), account()),
}  # fmt: skip


@pytest.mark.parametrize(("change", "live"), UNTRUSTED.values(), ids=UNTRUSTED)
def test_plan_of_a_change_that_its_history_belies(change: Change, live: AccountState) -> None:
    """A change whose history does not show an approval is a conflict, whatever the account says."""
    (step,) = build_plan(
        [change], live, untrusted={change.change_id: "nobody approved it"}, not_again={}
    )
    assert step == Conflict(change, "nobody approved it")


NOT_AGAIN = {
    "a create that was not found waits until it may be sent again": (
        sent(create()), account(), later("it is looked for"),
    ),
    "a create that was found needs nothing": (
        sent(create()), account(created={"c1": frozenset({"31"})}), no_op("31"),
    ),
    "a create with a new equal is a conflict": (
        sent(create()), account(project_milestones=project("21")), conflict("21"),
    ),
    "a create that was not found, and that its history belies, waits": (
        sent(create(), change_id="c2"), account(), later("it is looked for"),
    ),
    "another create is sent again": (sent(create(), change_id="c3"), account(), write()),
}  # fmt: skip


@pytest.mark.parametrize(("change", "live", "wanted"), NOT_AGAIN.values(), ids=NOT_AGAIN)
def test_plan_of_a_create_that_must_not_be_sent_again(
    change: Change, live: AccountState, wanted: Expected
) -> None:
    """It waits if it was not found; if it was found, that decides."""
    (step,) = build_plan(
        [change],
        live,
        untrusted={"c2": "nobody approved it"},
        not_again=dict.fromkeys(("c1", "c2"), "it is looked for once more"),
    )
    assert type(step) is wanted.kind
    assert matches(step, change, wanted), step


def test_plan_has_one_step_for_each_change_in_order() -> None:
    """Steps follow the changes, and do not depend on each other."""
    changes = [delete(), create(), update(change_id="c2"), sent(update(), change_id="c3")]
    steps = build_plan(
        changes, account(created={"c1": frozenset({"31"})}), untrusted={}, not_again={}
    )
    assert [step.change for step in steps] == changes
    assert [type(step) for step in steps] == [Write, NoOp, Write, Write]
    assert build_plan([], account(), untrusted={}, not_again={}) == []


UNKNOWN = {
    "an update is unknown by its milestone": (update(), "milestone"),
    "a deletion is unknown by its milestone": (delete(), "milestone"),
    "a create is unknown by its project": (create(), "project"),
    "another milestone is not unknown": (update(milestone_id="8"), ""),
    "another project is not unknown": (create(workspace_id="4"), ""),
}


@pytest.mark.parametrize(("change", "why"), UNKNOWN.values(), ids=UNKNOWN)
def test_why_unknown(change: Change, why: str) -> None:
    """Unreadable records leave exactly the changes that need them unknown."""
    live = AccountState(
        unreadable={"7": "milestone", "3": "no id"},
        unreadable_projects={"3": "project", "7": "no id"},
    )
    assert live.why_unknown(change) == why


IMAGES = {
    "an update is expected over what was there": (
        update(), KICK_OFF | {"amount_in_cents": 60_000},
    ),
    "a create is expected with nothing in the fields it does not set": (
        create(), NEW | {"date_to_invoice": None, "story_id": None, "currency": "USD"},
    ),
    "a create is expected with the fields it sets": (
        create(after=NEW | {"date_to_invoice": "2027-03-31", "story_id": "12"}),
        NEW | {"date_to_invoice": "2027-03-31", "story_id": "12", "currency": "USD"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "wanted"), IMAGES.values(), ids=IMAGES)
def test_expected(change: Change, wanted: Image) -> None:
    """The expected milestone after its change; its invoices are ignored, since they may change."""
    ignored = {"invoice_id", "invoice_ids"}
    assert expected_image(change) == {n: v for n, v in wanted.items() if n not in ignored}


DIFFERENCES = {
    "an image as wanted has none": (KICK_OFF, {}, []),
    "a field that is not wanted does not count": ({"title": "Kick-off"}, {"story_id": "12"}, []),
    "an amount is named in its currency": (
        KICK_OFF, {"amount_in_cents": 55_000}, ["amount", "550.00 USD", "500.00 USD"],
    ),
    "an amount is named in the currency it has now": (
        KICK_OFF, {"amount_in_cents": 55_000, "currency": "XTS"},
        ["amount", "55,000", "500.00 USD", "currency", "XTS"],
    ),
    "every field is named": (
        KICK_OFF, {"title": "Other", "story_id": "12"},
        ["title is Other instead of Kick-off; story_id is 12 instead of none"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("wanted", "found", "words"), DIFFERENCES.values(), ids=DIFFERENCES)
def test_differences(wanted: Image, found: Image, words: list[str]) -> None:
    """Each field that differs is named with both values."""
    text = differences(wanted, KICK_OFF | found, DOLLARS)
    assert bool(text) == bool(words)
    assert all(word in text for word in words), text


REFUSED = {
    "a refusal that was not applied failed": (
        sent(update()), account(), Expected(Status.FAILED, ("422",), "7"),
    ),
    "a refusal that was applied anyway is applied": (
        sent(update()), account(milestone(amount_in_cents=60_000)),
        Expected(Status.APPLIED, ("422",), "7"),
    ),
    "a refusal of a milestone that was edited is a conflict": (
        sent(update()), account(milestone(title="Other")),
        Expected(Status.CONFLICT, ("422", "Other"), "7"),
    ),
    "a refusal that cannot be read back is unknown": (
        sent(update()), without_milestone(unreadable={"7": "no permission"}),
        Expected(Status.UNKNOWN, ("422", "no permission"), "7"),
    ),
    "a refused create that was created anyway is applied": (
        sent(create()), account(created={"c1": frozenset({"31"})}),
        Expected(Status.APPLIED, ("422",), "31"),
    ),
    "a refused create that was not created failed": (
        sent(create()), account(), Expected(Status.FAILED, ("422",)),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "live", "wanted"), REFUSED.values(), ids=REFUSED)
def test_settlement_of_a_refusal(change: Change, live: AccountState, wanted: Expected) -> None:
    """What Kantata refused is failed only if it was not applied anyway."""
    found = settle_refused(change, "Kantata refused it (422)", live)
    assert (found.status, found.milestone_id) == (wanted.kind, wanted.milestone_id)
    assert all(word in found.why for word in wanted.words), found.why


REFUSED_BATCH = {
    "a create of a refused batch that was not created is looked for again": (
        account(), Expected(Status.UNKNOWN, ("422", "in a batch", "another look")),
    ),
    "a create of a refused batch that was created anyway is applied": (
        account(created={"c1": frozenset({"31"})}), Expected(Status.APPLIED, ("422",), "31"),
    ),
    "a create of a refused batch that cannot be read back is unknown": (
        account(unreadable_projects={"3": "no permission"}),
        Expected(Status.UNKNOWN, ("422", "no permission")),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("live", "wanted"), REFUSED_BATCH.values(), ids=REFUSED_BATCH)
def test_settlement_of_a_refused_batch(live: AccountState, wanted: Expected) -> None:
    """Another create may be why it was refused, so none of them failed."""
    found = settle_refused_batch(sent(create()), "Kantata refused it (422)", live)
    assert (found.status, found.milestone_id) == (wanted.kind, wanted.milestone_id)
    assert all(word in found.why for word in wanted.words), found.why


THROTTLED = {
    "a throttled change that was not applied is approved again": (
        sent(update()), account(), Expected(Status.APPROVED, ("429", "not written"), "7"),
    ),
    "a throttled change that was applied anyway is applied": (
        sent(update()), account(milestone(amount_in_cents=60_000)),
        Expected(Status.APPLIED, ("429", "requested values"), "7"),
    ),
    "a throttled change of a milestone that was edited is a conflict": (
        sent(update()), account(milestone(title="Other")),
        Expected(Status.CONFLICT, ("429", "Other"), "7"),
    ),
    "a throttled change that cannot be read back is unknown": (
        sent(update()), without_milestone(unreadable={"7": "no permission"}),
        Expected(Status.UNKNOWN, ("429", "no permission"), "7"),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "live", "wanted"), THROTTLED.values(), ids=THROTTLED)
def test_settlement_of_a_throttled_change(
    change: Change, live: AccountState, wanted: Expected
) -> None:
    """What Kantata throttled is sent again only if it was not applied anyway."""
    found = settle_throttled(change, "too many requests (429)", live)
    assert (found.status, found.milestone_id) == (wanted.kind, wanted.milestone_id)
    assert all(word in found.why for word in wanted.words), found.why


LIMITS = {
    "fewer than allowed": (3, [Write, Write]),
    "as many as allowed": (2, [Write, Write]),
    "more than allowed": (1, [Write, Deferred]),
    "none allowed": (0, [Deferred, Deferred]),
}


@pytest.mark.parametrize(("max_changes", "wanted"), LIMITS.values(), ids=LIMITS)
def test_limit_of_changes(max_changes: int, wanted: list[type[Step]]) -> None:
    """What goes beyond the limit is deferred."""
    steps = build_plan([update(), delete()], account(), untrusted={}, not_again={})
    assert [type(step) for step in limit_steps(steps, max_changes)] == wanted


def test_what_counts_towards_the_limit() -> None:
    """An approved change counts unless it waits; an unknown one only if it is sent again."""
    unreadable = {"8": "no permission"}
    changes = [
        update(milestone_id="8"),  # waits
        update(milestone_id="9"),  # deleted: a conflict
        update(milestone_id="9", change_id="second"),  # the same
        sent(update(after={"title": "Kick-off"})),  # unknown, and applied
        sent(update()),  # unknown, and sent again
        update(change_id="last"),
    ]
    live = account(unreadable=unreadable, deleted=frozenset({"9"}))
    limited = limit_steps(build_plan(changes, live, untrusted={}, not_again={}), 3)
    kinds = [Deferred, Conflict, Conflict, NoOp, Write, Deferred]
    assert [type(step) for step in limited] == kinds
    waiting = [step for step in limited if isinstance(step, Deferred)]
    assert [step.change for step in waiting] == [changes[0], changes[-1]]
    assert waiting[0].why == "no permission"
    assert waiting[1].why.startswith("max_changes is reached")
