"""Lookups in the ledger: the same request again, an open change, an equal create."""

from __future__ import annotations

import pytest

from pipelines.writeback.ledger_lookup import LedgerLookup
from pipelines.writeback.requests import ChangeRequest
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Action, Change, Draft, Image, Status

SEEN = {"title": "Kick-off", "amount_in_cents": 50_000, "currency": "USD"}
NEW = {
    "workspace_id": "3",
    "title": "Go-live",
    "amount_in_cents": 9_900,
    "date_to_invoice": "2027-03-31",
}
HIGHER, RENAMED = {"amount_in_cents": 60_000}, {"title": "Start"}


def values(action: Action, after: Image | None, **fields: object) -> dict[str, object]:
    """The fields of a draft or a change about milestone 7, or NEW in project 3."""
    creates = action is Action.CREATE
    wanted = {Action.CREATE: NEW, Action.UPDATE: HIGHER, Action.DELETE: {}}[action]
    return {
        "action": action,
        "milestone_id": None if creates else "7",
        "workspace_id": "3",
        "currency": "USD",
        "after": wanted if after is None else after,
        "before": {} if creates else SEEN,
        "reason": "as agreed",
        "proposer": "ann",
    } | fields


def change(
    id_: str,
    action: Action = Action.UPDATE,
    status: Status = Status.PROPOSED,
    after: Image | None = None,
    **fields: object,
) -> Change:
    """A change in the ledger."""
    return Change(**values(action, after, **fields), change_id=id_, status=status)


def draft(action: Action = Action.UPDATE, after: Image | None = None, **fields: object) -> Draft:
    """A draft to propose."""
    return Draft(**values(action, after, **fields))


def request(
    action: Action = Action.UPDATE, id_: str | None = "7", where: str = "line 2"
) -> ChangeRequest:
    """A request in a line of a file; the tests pass its values separately."""
    return ChangeRequest(action, id_, {}, "as agreed", where)


UPDATE, CREATE, DELETE = Action.UPDATE, Action.CREATE, Action.DELETE
EARLIER = {
    "an empty ledger has no earlier change": ([], UPDATE, HIGHER, None),
    "the same update was proposed": ([change("c1")], UPDATE, HIGHER, "c1"),
    "the same update was applied": (
        [change("c1", status=Status.APPLIED)], UPDATE, HIGHER, "c1",
    ),
    "an update of another field is another": ([change("c1")], UPDATE, RENAMED, None),
    "an update to another value is another": (
        [change("c1")], UPDATE, {"amount_in_cents": 70_000}, None,
    ),
    "an update of more fields is another": ([change("c1")], UPDATE, HIGHER | RENAMED, None),
    "an update of fewer fields is another": (
        [change("c1", after=HIGHER | RENAMED)], UPDATE, HIGHER, None,
    ),
    "a field that had its value already is no difference": (
        [change("c1")], UPDATE, HIGHER | {"title": "Kick-off"}, "c1",
    ),
    "an update of another milestone is another": (
        [change("c1", milestone_id="8")], UPDATE, HIGHER, None,
    ),
    "a deletion of the milestone is no update": ([change("c1", DELETE)], UPDATE, HIGHER, None),
    "the same deletion was proposed": ([change("c1", DELETE)], DELETE, {}, "c1"),
    "a deletion of another milestone is another": (
        [change("c1", DELETE, milestone_id="8")], DELETE, {}, None,
    ),
    "an update of the milestone is no deletion": ([change("c1")], DELETE, {}, None),
    "the same create was proposed": ([change("c1", CREATE)], CREATE, NEW, "c1"),
    "the same create was applied, and has a milestone": (
        [change("c1", CREATE, Status.APPLIED, milestone_id="31")], CREATE, NEW, "c1",
    ),
    "the order of a create's fields does not matter": (
        [change("c1", CREATE, after=dict(reversed(NEW.items())))], CREATE, NEW, "c1",
    ),
    "a create with another title is another": (
        [change("c1", CREATE)], CREATE, NEW | {"title": "Go-Live"}, None,
    ),
    "a create with another task is another": (
        [change("c1", CREATE)], CREATE, NEW | {"story_id": "12"}, None,
    ),
    "the open one counts before the applied one": (
        [change("c1"), change("c2", status=Status.APPLIED)], UPDATE, HIGHER, "c1",
    ),
    "of two applied ones the last counts": (
        [change("c1", status=Status.APPLIED), change("c2", status=Status.APPLIED)],
        UPDATE, HIGHER, "c2",
    ),
    "an unknown outcome is open": (
        [change("c1", status=Status.UNKNOWN), change("c2", status=Status.APPLIED)],
        UPDATE, HIGHER, "c1",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("ledger", "action", "wanted", "found"), EARLIER.values(), ids=EARLIER)
def test_earlier_change_of_the_same_line(
    ledger: list[Change], action: Action, wanted: Image, found: str | None
) -> None:
    """The same line given twice leads to one change."""
    id_ = None if action is Action.CREATE else "7"
    earlier = LedgerLookup(ledger).previous_change(request(action, id_), wanted)
    assert (earlier.change_id if earlier else None) == found


ALLOWED = {
    "an update in an empty ledger": ([], draft()),
    "a create in an empty ledger": ([], draft(CREATE)),
    "an update next to an open one of another milestone": (
        [change("c1", milestone_id="8")], draft(),
    ),
    "an update after a conflict": ([change("c1", status=Status.CONFLICT)], draft()),
    "an update after an applied one": ([change("c1", status=Status.APPLIED)], draft()),
    "a create next to a create with another title": (
        [change("c1", CREATE, after=NEW | {"title": "Go-Live"})], draft(CREATE),
    ),
    "a create next to a create in another project": (
        [change("c1", CREATE, after=NEW | {"workspace_id": "4"})], draft(CREATE),
    ),
    "a meant duplicate next to its equal": (
        [change("c1", CREATE)], draft(CREATE, duplicate=True),
    ),
    "a create next to an open update": ([change("c1")], draft(CREATE)),
    "an update next to an open create": ([change("c1", CREATE)], draft()),
}  # fmt: skip


@pytest.mark.parametrize(("ledger", "draft"), ALLOWED.values(), ids=ALLOWED)
def test_draft_that_can_be_proposed(ledger: list[Change], draft: Draft) -> None:
    """A draft can be proposed if no open change has its milestone, and no create is equal."""
    LedgerLookup(ledger).check_conflicts(draft, "line 2")


CONFLICTS = {
    "an update next to an open one": (
        [change("c1")], draft(after=RENAMED), ["milestone 7", "c1", "proposed"],
    ),
    "a deletion next to an open update": (
        [change("c1", status=Status.APPROVED)], draft(DELETE), ["milestone 7", "c1", "approved"],
    ),
    "an update next to an unknown outcome": (
        [change("c1", status=Status.UNKNOWN)], draft(), ["c1", "unknown"],
    ),
    "an update next to an open one that is older than an applied one": (
        [change("c1"), change("c2", status=Status.APPLIED)], draft(), ["c1"],
    ),
    "an update of the milestone that a create on its way made": (
        [change("c1", CREATE, Status.APPLYING, milestone_id="7")], draft(), ["milestone 7", "c1"],
    ),
    "a create next to an equal one": (
        [change("c1", CREATE)], draft(CREATE), ["c1", "proposed", "--allow-duplicate"],
    ),
    "a create next to a meant duplicate": (
        [change("c1", CREATE, duplicate=True)], draft(CREATE), ["c1", "--allow-duplicate"],
    ),
    "a create that differs in the task only": (
        [change("c1", CREATE)], draft(CREATE, NEW | {"story_id": "12"}), ["c1"],
    ),
    "a create after an equal one that was applied": (
        [change("c1", CREATE, Status.APPLIED, milestone_id="31")], draft(CREATE),
        ["c1", "applied"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("ledger", "draft", "words"), CONFLICTS.values(), ids=CONFLICTS)
def test_draft_that_is_refused(ledger: list[Change], draft: Draft, words: list[str]) -> None:
    """The message names the conflicting change."""
    with pytest.raises(ChangeRefused) as refused:
        LedgerLookup(ledger).check_conflicts(draft, "line 2")
    assert all(word in str(refused.value) for word in words), str(refused.value)


def test_lines_of_one_file_count_as_well() -> None:
    """An equal create in an earlier line is refused, by that line's number; a duplicate is not."""
    lookup = LedgerLookup([])
    lookup.check_conflicts(draft(CREATE), "line 2")
    lookup.check_conflicts(draft(CREATE, NEW | {"title": "Other"}), "line 3")
    lookup.check_conflicts(draft(CREATE, duplicate=True), "line 4")
    with pytest.raises(ChangeRefused, match="line 2"):
        lookup.check_conflicts(draft(CREATE), "line 5")


def test_each_milestone_is_in_one_line() -> None:
    """A second line for a milestone is refused; creates have no milestone."""
    lookup = LedgerLookup([])
    lookup.claim_milestone(request(where="line 2"))
    lookup.claim_milestone(request(id_="8", where="line 3"))
    for line in ("line 4", "line 5"):
        lookup.claim_milestone(request(CREATE, None, line))
    with pytest.raises(ChangeRefused, match=r"milestone 7 .*line 2"):
        lookup.claim_milestone(request(DELETE, where="line 6"))
