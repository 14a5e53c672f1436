"""The hash chain over the ledger's events: no event can be altered, removed or added unseen.

Pure. Each event has a link: the hash of the event, of what was proposed then, and of the link
before. Events older than the chain have one link together, an anchor, at the last of them.
A user who may write the ledger may write a new chain, too; see SECURITY.md.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC
from typing import NamedTuple

from .change import Event

_START = ""  # what comes before the first link


class RecordedEvent(NamedTuple):
    """An event of the chain, with what was proposed then.

    Args:
        event: The event.
        draft_digest: The digest of its change as it was at the event; None if it is older than
            the chain.
    """

    event: Event
    draft_digest: str | None


@dataclass(frozen=True, kw_only=True)
class Link:
    """A link of the chain.

    Args:
        number: The number of its event.
        draft_digest: The digest of the change as it was at the event; None if the link stands for
            all events up to this one.
        hash: The hash, in hexadecimal digits.
    """

    number: int
    draft_digest: str | None
    hash: str


def next_link(previous: Link | None, event: Event, draft_digest: str) -> Link:
    """Return the link of an event in the chain.

    Args:
        previous: The link before; None for the first event of a ledger.
        event: The event.
        draft_digest: The digest of its change.
    """
    content = [previous.hash if previous else _START, *_content(event), draft_digest]
    return Link(number=event.number, draft_digest=draft_digest, hash=_hash(content))


def anchor(events: Sequence[Event]) -> Link:
    """Return the one link that stands in the chain for all these events, in order."""
    content = [_content(event) for event in events]
    return Link(number=events[-1].number, draft_digest=None, hash=_hash(content))


def chain_problems(events: Sequence[Event], links: Sequence[Link]) -> list[str]:
    """Return what is wrong with the chain of a ledger, a line each; empty if it is whole.

    Args:
        events: All events of the ledger, in order.
        links: All links, in order.
    """
    by_number = {link.number: link for link in links}
    problems = _lost_events(events, by_number)
    previous = next((link for link in reversed(links) if link.draft_digest is None), None)
    covered = [event for event in events if previous and event.number <= previous.number]
    if previous and (not covered or anchor(covered) != previous):
        return [f"the events up to number {previous.number} are not those that were recorded"]
    for event in events[len(covered) :]:
        link = by_number.get(event.number)
        if link is None:
            problems.append(f"event {event.number} was added without a link")
            continue
        if link != next_link(previous, event, link.draft_digest or ""):
            problems.append(f"event {event.number} is not as it was recorded, or one is missing")
            return problems  # all later links follow from this one
        previous = link
    return problems


def _lost_events(events: Sequence[Event], links: Mapping[int, Link]) -> list[str]:
    """Return a line for each link of the chain whose event is missing."""
    numbers = {event.number for event in events}
    return [f"event {number} was removed" for number in sorted(links.keys() - numbers)]


def _content(event: Event) -> list[object]:
    """Return the values of an event that its link in the chain covers."""
    return [
        event.number, event.change_id, event.at.astimezone(UTC).isoformat(), event.before,
        event.after, event.who, event.what, event.request_id, event.db_user,
        # Older events have none, and their links stay as they are.
        *([] if event.identified_by is None else [event.identified_by]),
    ]  # fmt: skip


def _hash(content: object) -> str:
    """Return the SHA-256 of values of the chain."""
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()
