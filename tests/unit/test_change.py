"""A change request: its transitions, the fields an approval binds, and equal creates."""

from __future__ import annotations

from dataclasses import fields, replace
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from warehouse.ledger.change import (
    OPEN,
    TRANSITIONS,
    Action,
    Change,
    Draft,
    Status,
    duplicate_fields,
    value_words,
)

TABLE = """
    proposed  -> approved rejected withdrawn
    approved  -> applying withdrawn
    applying  -> applied conflict failed unknown approved
    unknown   -> applied approved conflict
    rejected  ->
    withdrawn ->
    applied   ->
    conflict  ->
    failed    ->
"""
ONWARD = {
    Status(before.strip()): frozenset(map(Status, after.split()))
    for before, after in (line.split("->") for line in TABLE.strip().splitlines())
}


@pytest.mark.parametrize("after", Status)
@pytest.mark.parametrize("before", Status)
def test_transition(before: Status, after: Status) -> None:
    """Each of the 81 transitions is allowed only if the table lists it."""
    assert (after in TRANSITIONS[before]) == (after in ONWARD[before])


@pytest.mark.parametrize("status", Status)
def test_open_changes(status: Status) -> None:
    """A change is open while it can still be sent, or may have been sent."""
    assert (status in OPEN) == (status in ("proposed", "approved", "applying", "unknown"))


UPDATE = Draft(
    action=Action.UPDATE,
    milestone_id="7",
    workspace_id="3",
    currency="USD",
    after={"amount_in_cents": 60_000, "title": "Kick-off"},
    before={"amount_in_cents": 50_000, "title": "Start"},
    reason="as agreed",
    proposer="ann",
)
CREATE = replace(
    UPDATE,
    action=Action.CREATE,
    milestone_id=None,
    before={},
    after={"workspace_id": "3", "title": "Go-live", "amount_in_cents": 9_900},
)
CHANGE = Change(**{field.name: getattr(UPDATE, field.name) for field in fields(Draft)})

BOUND = {
    "the action": {"action": Action.DELETE},
    "the milestone": {"milestone_id": "8"},
    "the project": {"workspace_id": "4"},
    "the currency": {"currency": "EUR"},
    "no currency": {"currency": None},
    "a new value": {"after": {"amount_in_cents": 60_001, "title": "Kick-off"}},
    "a new value's type": {"after": {"amount_in_cents": "60000", "title": "Kick-off"}},
    "a field that is not written any more": {"after": {"amount_in_cents": 60_000}},
    "a value that was seen": {"before": {"amount_in_cents": 50_001, "title": "Start"}},
    "values that were swapped with those seen": {"after": UPDATE.before, "before": UPDATE.after},
    "the reason": {"reason": "as agreed."},
    "the proposer": {"proposer": "bob"},
    "whether it may be a duplicate": {"duplicate": True},
}


@pytest.mark.parametrize("altered", BOUND.values(), ids=BOUND)
def test_approval_binds(altered: dict[str, object]) -> None:
    """Every field that a person bases an approval on is in the digest."""
    assert replace(UPDATE, **altered).digest != UPDATE.digest


NOT_BOUND = {
    "its name": {"change_id": "c1"},
    "its status": {"status": Status.UNKNOWN},
    "its approver": {"approver": "bob"},
    "its approval": {"approved_digest": "abc"},
    "how often it was sent": {"attempts": 2},
    "when it was sent": {"sent_at": datetime(2027, 1, 1, tzinfo=UTC)},
    "equal milestones": {"twins": ("21",)},
    "when it was proposed": {"proposed_at": datetime(2027, 1, 1, tzinfo=UTC)},
    "its outcome": {"outcome": "applied"},
    "when its milestone was changed": {"seen_updated_at": "2027-01-01T00:00:00Z"},
    "when it was looked for": {"looked_at": datetime(2027, 1, 1, tzinfo=UTC)},
    "how often it was approved again": {"resends": 1},
    "the order of its values": {"after": dict(reversed(UPDATE.after.items()))},
}


@pytest.mark.parametrize("altered", NOT_BOUND.values(), ids=NOT_BOUND)
def test_approval_does_not_bind(altered: dict[str, object]) -> None:
    """Fields that change after the approval do not affect the digest."""
    assert replace(CHANGE, **altered).digest == UPDATE.digest


def test_fields_of_a_change_are_bound_or_not() -> None:
    """Every field is in one of the two tables."""
    tried = {name for altered in (*BOUND.values(), *NOT_BOUND.values()) for name in altered}
    assert tried == {field.name for field in fields(Change)}


def test_create_keeps_its_digest_when_it_gets_its_milestone() -> None:
    """The id of a create is not part of its approval; that of an update is."""
    assert replace(CREATE, milestone_id="31").digest == CREATE.digest
    assert CREATE.digest != UPDATE.digest


STORED = {
    "an update": (UPDATE, "9298e9143ac8d27d3a3175c7bdf6ecf5a8ec36341213fb486edb809f2351206d"),
    "a create": (CREATE, "630e1595e87e79af434f9ffadb42fc15fcc801ce57e65c2875a51bf926376de4"),
}


@pytest.mark.parametrize(("draft", "digest"), STORED.values(), ids=STORED)
def test_digests_stay_as_they_are_stored(draft: Draft, digest: str) -> None:
    """Approvals in ledgers in use hold these digests."""
    assert replace(draft, after=dict(draft.after) | {"title": "Prüfung"}).digest == digest


def test_names_stay_as_they_are_stored() -> None:
    """Ledgers in use hold these actions, and this key of equal creates."""
    assert [action.value for action in Action] == ["create", "update", "delete"]
    key = replace(CREATE, after=dict(CREATE.after) | {"title": "Prüfung"}).twin_key
    assert key == '["3", "Prüfung", 9900, null]'


def test_a_change_begins_as_proposed_and_was_never_sent() -> None:
    """What no caller gives is empty."""
    assert (CHANGE.change_id, CHANGE.status, CHANGE.outcome) == ("", "proposed", "")
    assert (CHANGE.attempts, CHANGE.resends, CHANGE.twins) == (0, 0, ())
    assert (CHANGE.sent_at, CHANGE.looked_at, CHANGE.approver) == (None, None, None)


EQUAL = {
    "the same milestone": ({}, True),
    "another task": ({"story_id": "12"}, True),
    "another billing type": ({"billing_type": "upon_completion"}, True),
    "no date, as null or absent": ({"date_to_invoice": None}, True),
    "another project": ({"workspace_id": "4"}, False),
    "another title": ({"title": "Go-Live"}, False),
    "another amount": ({"amount_in_cents": 9_901}, False),
    "another date": ({"date_to_invoice": "2027-03-31"}, False),
}


@pytest.mark.parametrize(("other", "equal"), EQUAL.values(), ids=EQUAL)
def test_equal_creates(other: dict[str, object], equal: bool) -> None:
    """Creates with the same project, title, amount and date are equal."""
    after = dict(CREATE.after) | other
    assert (duplicate_fields(after) == duplicate_fields(CREATE.after)) == equal
    assert (replace(CREATE, after=after).twin_key == CREATE.twin_key) == equal


def test_only_creates_that_are_not_meant_as_duplicates_have_a_key() -> None:
    """No other change has a duplicate key."""
    assert CREATE.twin_key is not None
    assert replace(CREATE, duplicate=True).twin_key is None
    assert UPDATE.twin_key is None
    assert replace(UPDATE, action=Action.DELETE).twin_key is None


UNITS = {
    "USD": Decimal("0.01"),
    "JPY": Decimal("1"),
    "KWD": Decimal("0.001"),
    "EUR": Decimal("0.010000"),
}
WORDED = {
    "an amount in cents": ("amount_in_cents", 1_234_567, "USD", "12,345.67 USD"),
    "an amount of full dollars keeps its cents": ("amount_in_cents", 50_000, "USD", "500.00 USD"),
    "a negative amount": ("amount_in_cents", -50, "USD", "-0.50 USD"),
    "nothing": ("amount_in_cents", 0, "USD", "0.00 USD"),
    "a currency without a smaller unit": ("amount_in_cents", 50_000, "JPY", "50,000 JPY"),
    "a currency with three decimals": ("amount_in_cents", 50_000, "KWD", "50.000 KWD"),
    "a unit as the warehouse holds it": ("amount_in_cents", 50_000, "EUR", "500.00 EUR"),
    "a field that is no amount": ("title", "Go-live", "USD", "Go-live"),
    "a number that is no amount": ("attempts", 50_000, "USD", "50000"),
    "an amount that is no number": ("amount_in_cents", "12.50", "USD", "12.50"),
}


@pytest.mark.parametrize(("name", "value", "currency", "text"), WORDED.values(), ids=WORDED)
def test_value_as_a_person_reads_it(name: str, value: object, currency: str, text: str) -> None:
    """Amounts are shown in their currency, to the last digit."""
    assert value_words(name, value, currency, UNITS) == text


def test_amount_of_an_unknown_unit_is_not_divided() -> None:
    """The amount is shown and labelled as Kantata sends it."""
    assert value_words("amount_in_cents", 50_000, "XTS", UNITS).startswith("50,000 ")
    assert "XTS" in value_words("amount_in_cents", 50_000, "XTS", UNITS)
    assert "unknown" in value_words("amount_in_cents", 50_000, None, UNITS)
    assert value_words("title", None, "USD", UNITS) == value_words(
        "amount_in_cents", None, "USD", UNITS
    )
