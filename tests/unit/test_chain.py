"""The chain over a ledger's events shows whatever is altered, removed, added or put elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest

from warehouse.ledger.chain import Link, anchor, chain_problems, next_link
from warehouse.ledger.change import Event, Status

AT = datetime(2027, 1, 1, 12, tzinfo=UTC)


def event(number: int, after: Status = Status.APPROVED, **fields: object) -> Event:
    """An event."""
    made = Event(number, "c1", AT, Status.PROPOSED, after, "bob", "yes", None, None)
    return replace(made, **fields)


EVENTS = [event(1, Status.PROPOSED, before=None, who="ann"), event(2), event(4, Status.APPLYING)]


def linked(events: Sequence[Event], first: Link | None = None) -> list[Link]:
    """The links of events, after an anchor if there is one."""
    links = [first] if first else []
    for one in events:
        links.append(next_link(links[-1] if links else None, one, "d"))
    return links


LINKS = linked(EVENTS)
ANCHORED = linked(EVENTS[2:], anchor(EVENTS[:2]))


def without(items: list[Link], number: int) -> list[Link]:
    """Links without that of an event."""
    return [item for item in items if item.number != number]


ALTERED: dict[str, tuple[list[Event], list[Link], str]] = {
    "another name": ([EVENTS[0], replace(EVENTS[1], who="eve"), EVENTS[2]], LINKS, "event 2"),
    "another time": ([replace(EVENTS[0], at=AT + timedelta(1)), *EVENTS[1:]], LINKS, "event 1"),
    "another status": (
        [*EVENTS[:2], replace(EVENTS[2], after=Status.APPLIED)], LINKS, "event 4",
    ),
    "another change": ([*EVENTS[:2], replace(EVENTS[2], change_id="c2")], LINKS, "event 4"),
    "another role": ([*EVENTS[:2], replace(EVENTS[2], db_user="eve")], LINKS, "event 4"),
    "an event was removed": ([EVENTS[0], EVENTS[2]], LINKS, "event 2 was removed"),
    "the last event was removed": (EVENTS[:2], LINKS, "event 4 was removed"),
    "an event and its link were removed": (
        [EVENTS[0], EVENTS[2]], without(LINKS, 2), "event 4 is not as it was recorded",
    ),
    "an event was added": ([*EVENTS, event(5)], LINKS, "event 5 was added"),
    "an event was added in between": (
        [EVENTS[0], EVENTS[1], event(3), EVENTS[2]], LINKS, "event 3 was added",
    ),
    "another digest": ([*EVENTS], [LINKS[0], replace(LINKS[1], draft_digest="e"), LINKS[2]],
        "event 2"),
    "an old event was altered": (
        [replace(EVENTS[0], who="eve"), *EVENTS[1:]], ANCHORED, "up to number 2",
    ),
    "an old event was removed": (EVENTS[1:], ANCHORED, "up to number 2"),
    "all old events were removed": (EVENTS[2:], ANCHORED, "up to number 2"),
    "an event after the anchor was altered": (
        [*EVENTS[:2], replace(EVENTS[2], what="no")], ANCHORED, "event 4",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("events", "links", "words"), ALTERED.values(), ids=ALTERED)
def test_an_altered_ledger_is_found(events: list[Event], links: list[Link], words: str) -> None:
    """Each alteration is found, and the message says where."""
    problems = chain_problems(events, links)
    assert problems
    assert words in problems[0]


WHOLE: dict[str, Callable[[], tuple[list[Event], list[Link]]]] = {
    "an empty ledger": lambda: ([], []),
    "a ledger of this release": lambda: (EVENTS, LINKS),
    "a ledger of an older release": lambda: (EVENTS, [anchor(EVENTS)]),
    "a ledger of an older release, continued": lambda: (EVENTS, ANCHORED),
    "a ledger that was moved between two releases": lambda: (
        EVENTS, [anchor(EVENTS[:1]), *ANCHORED],
    ),
    "times that another driver returns": lambda: (
        [replace(e, at=e.at.astimezone(timezone(timedelta(hours=2)))) for e in EVENTS], LINKS,
    ),
}  # fmt: skip


def test_hashes_stay_as_they_are_stored() -> None:
    """The first link, a later one, and an anchor have the hashes that ledgers in use hold."""
    one = event(1, Status.PROPOSED, before=None, who="Jörg", request_id="r1", db_user="u")
    before = Link(number=0, draft_digest="d", hash="h")
    hashes = [link.hash for link in (next_link(None, one, "d"), next_link(before, one, "d"))]
    assert [*hashes, anchor([one]).hash] == [
        "bed34cd93e72941a2008fc2cc5eb3e66c82dd53d07ee2b4d90d60c49131b6870",
        "d8f95b6d784c1ccab3bb05bd962e026a691588d5ec85a48ef7290fb9a1ee1aca",
        "2f295de55ba0eee6b9bf9fc18dda2cc5778bea8ba02050add68899d52265f8a0",
    ]


@pytest.mark.parametrize("ledger", WHOLE.values(), ids=WHOLE)
def test_a_whole_ledger_has_no_problem(
    ledger: Callable[[], tuple[list[Event], list[Link]]],
) -> None:
    """What this release and earlier ones wrote is whole."""
    assert chain_problems(*ledger()) == []
