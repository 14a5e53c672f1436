"""A change is sent only if its recorded history shows that another person approved just that."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest

from warehouse.ledger.chain import RecordedEvent
from warehouse.ledger.change import (
    COMMAND_LINE,
    CONSOLE_LOGIN,
    PROXY_HEADER,
    Action,
    Change,
    Event,
    Status,
)
from warehouse.ledger.trust import (
    approval_words,
    is_approval_verified,
    normalized_name,
    why_altered,
    why_untrusted,
)

AT = datetime(2027, 1, 1, 12, tzinfo=UTC)
BARE = Change(
    Action.UPDATE, "7", "3", "USD", {"title": "new"}, {"title": "old"}, "because", "Ann",
    change_id="c1", status=Status.APPROVED, approver="bob",
)  # fmt: skip
CHANGE = replace(BARE, approved_digest=BARE.digest)
OTHER = replace(CHANGE, milestone_id="8")
OTHER = replace(OTHER, approved_digest=OTHER.digest)
PROPOSED = (None, Status.PROPOSED, "Ann", "because")
APPROVED = (Status.PROPOSED, Status.APPROVED, "bob", approval_words(CHANGE.digest))
SENT = (Status.APPROVED, Status.APPLYING, "milestones push", "sending")
DONE = (Status.APPLYING, Status.APPLIED, "milestones push", "done")
LOST = (Status.APPLYING, Status.UNKNOWN, "milestones push", "no answer")
AGAIN = (Status.UNKNOWN, Status.APPROVED, "milestones push", "it was not written")
Step = tuple[Status | None, Status, str, str]


def history(*steps: Step, digest: str | None = CHANGE.digest) -> list[RecordedEvent]:
    """The recorded events of the change."""
    return [
        RecordedEvent(Event(number, "c1", AT, before, after, who, what, None, None), digest)
        for number, (before, after, who, what) in enumerate(steps, 1)
    ]


def by(who: str) -> Step:
    """An approval by this person."""
    return (*APPROVED[:2], who, APPROVED[3])


TRUSTED = {
    "an approved change": (CHANGE, history(PROPOSED, APPROVED)),
    "a change that is being sent": (
        replace(CHANGE, status=Status.APPLYING), history(PROPOSED, APPROVED, SENT),
    ),
    "a change that was not written": (CHANGE, history(PROPOSED, APPROVED, SENT, LOST, AGAIN)),
    "a change of an older release": (CHANGE, history(PROPOSED, APPROVED, digest=None)),
    "a change approved by another person whose name differs in a space": (
        CHANGE, history(PROPOSED, by("An n")),
    ),
}  # fmt: skip
UNTRUSTED = {
    "set to approved by hand": (CHANGE, history(PROPOSED), "by its history it is proposed"),
    "set back to be sent again": (
        CHANGE, history(PROPOSED, APPROVED, SENT, DONE), "by its history it is applied",
    ),
    "unknown, set back to be sent again": (
        CHANGE, history(PROPOSED, APPROVED, SENT, LOST), "by its history it is unknown",
    ),
    "set by hand in between": (
        CHANGE, history(PROPOSED, APPROVED, LOST, AGAIN), "was set to applying without an event",
    ),
    "inserted by hand": (CHANGE, [], "without a history"),
    "approved by no event": (
        CHANGE, history(PROPOSED, (Status.PROPOSED, Status.UNKNOWN, "x", ""), AGAIN),
        "nobody approved it",
    ),
    "approved by its proposer": (CHANGE, history(PROPOSED, by("ANN ")), "proposed it and approved"),
    "approved by its proposer, in other letters": (
        CHANGE, history(PROPOSED, by("\uff21nn")), "proposed it and approved",
    ),
    "altered before the approval": (
        CHANGE, [*history(PROPOSED, digest="another"), *history(PROPOSED, APPROVED)[1:]],
        "after it was proposed",
    ),
    "altered after the approval": (
        replace(CHANGE, after={"title": "other"}), history(PROPOSED, APPROVED),
        "after it was proposed",
    ),
    "altered after the approval by an older release": (
        replace(CHANGE, milestone_id="8"), history(PROPOSED, APPROVED, digest=None),
        "not what was approved",
    ),
    "altered after the approval by an older release, with the digest that its row has": (
        OTHER, history(PROPOSED, APPROVED, digest=None), "not what was approved",
    ),
    "approved without a digest": (
        replace(CHANGE, approved_digest=None), history(PROPOSED, APPROVED),
        "not what was approved",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "recorded"), TRUSTED.values(), ids=TRUSTED)
def test_trusted(change: Change, recorded: list[RecordedEvent]) -> None:
    """A change that another person approved as it is may be sent."""
    assert why_untrusted(change, recorded) == ""


@pytest.mark.parametrize(("change", "recorded", "words"), UNTRUSTED.values(), ids=UNTRUSTED)
def test_untrusted(change: Change, recorded: list[RecordedEvent], words: str) -> None:
    """Any other change is not sent, and the reason is named."""
    assert words in why_untrusted(change, recorded)


IN_CONFLICT = (Status.APPROVED, Status.CONFLICT, "milestones push", "it was altered")
ALTERED = {
    "a change as its history has it": (CHANGE, history(PROPOSED, APPROVED), False),
    "a change that was altered": (
        replace(CHANGE, milestone_id="8"), history(PROPOSED, APPROVED), True,
    ),
    "an altered change that a push has refused": (
        replace(CHANGE, milestone_id="8", status=Status.CONFLICT),
        history(PROPOSED, APPROVED, IN_CONFLICT), True,
    ),
    "an altered change that was applied": (
        replace(CHANGE, milestone_id="8", status=Status.APPLIED),
        history(PROPOSED, APPROVED, SENT, DONE), True,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "recorded", "altered"), ALTERED.values(), ids=ALTERED)
def test_altered(change: Change, recorded: list[RecordedEvent], altered: bool) -> None:
    """A row that differs from its history is named, also after a push has refused it."""
    why = why_altered(change, recorded)
    assert "altered in the ledger" in why if altered else why == ""


def test_an_approval_stays_as_it_is_stored() -> None:
    """Ledgers in use hold these words, and names as people wrote them."""
    assert approval_words("abc") == "approved abc"
    assert normalized_name("  \uff21nn \t BROWN ") == "ann brown"


def identified(*hows: str | None) -> list[RecordedEvent]:
    """Events of a change that these persons approved, one after the other, identified so."""
    steps = (PROPOSED, *[by(f"person {number}") for number, _ in enumerate(hows)])
    return [
        RecordedEvent(replace(event, identified_by=how), digest)
        for (event, digest), how in zip(history(*steps), (CONSOLE_LOGIN, *hows), strict=True)
    ]


VERIFIED_APPROVALS = {
    "never approved": (identified(), False),
    "approved in the console": (identified(CONSOLE_LOGIN), True),
    "approved behind a proxy": (identified(PROXY_HEADER), True),
    "approved on the command line": (identified(COMMAND_LINE), False),
    "approved by an earlier release": (identified(None), False),
    "approved in the console, and then on the command line": (
        identified(CONSOLE_LOGIN, COMMAND_LINE), False,
    ),
    "approved on the command line, and then in the console": (
        identified(COMMAND_LINE, CONSOLE_LOGIN), True,
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("events", "is_verified"), VERIFIED_APPROVALS.values(), ids=VERIFIED_APPROVALS
)
def test_verified_approval(events: list[RecordedEvent], is_verified: bool) -> None:
    """Only the last approval counts, and a proposal in the console is none."""
    assert is_approval_verified(events) is is_verified
