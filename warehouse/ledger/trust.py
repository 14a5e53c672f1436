"""Whether a change in the ledger can be trusted: its row agrees with its recorded history.

Pure. A push relies on it: a row that somebody set to approved by hand has no approval in its
history, and is not sent.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from itertools import pairwise

from .chain import RecordedEvent
from .change import VERIFIED, Change, Status

PROPOSE_AGAIN = "Propose it again if it is still wanted"


def why_untrusted(change: Change, history: Sequence[RecordedEvent]) -> str:
    """Return why a change must not be sent although its row is approved; empty if it may be.

    Args:
        change: The change.
        history: Its events, in order.
    """
    if why := why_altered(change, history):
        return why
    approvals = [
        event
        for event, _ in history
        if event.before is Status.PROPOSED and event.after is Status.APPROVED
    ]
    if not approvals:
        return f"nobody approved it: its history has no approval. {PROPOSE_AGAIN}"
    approval = approvals[-1]
    if is_same_person(approval.who, change.proposer):
        return f"{approval.who} proposed it and approved it. {PROPOSE_AGAIN}"
    if approval.what != approval_words(change.digest) or change.approved_digest != change.digest:
        return f"it was altered in the ledger, so it is not what was approved. {PROPOSE_AGAIN}"
    return ""


def why_altered(change: Change, history: Sequence[RecordedEvent]) -> str:
    """Return how the row of a change differs from its history; empty if it can be trusted.

    Args:
        change: The change.
        history: Its events, in order.
    """
    if not history:
        return f"it was added to the ledger without a history. {PROPOSE_AGAIN}"
    last = history[-1].event
    if last.after is not change.status:
        return (
            f"its status was set to {change.status} without an event: by its history it is "
            f"{last.after}. {PROPOSE_AGAIN}"
        )
    if any(digest not in (None, change.digest) for _, digest in history):
        return f"it was altered in the ledger after it was proposed. {PROPOSE_AGAIN}"
    for (previous, _), (event, _) in pairwise(history):
        if event.before is not previous.after:
            return (
                f"its status was set to {event.before} without an event after event "
                f"{previous.number}. {PROPOSE_AGAIN}"
            )
    return ""


def is_approval_verified(history: Sequence[RecordedEvent]) -> bool:
    """Return whether the last approval of a change is to be trusted to be that person's.

    Args:
        history: Its events, in order.
    """
    approvals = [
        e for e, _ in history if e.before is Status.PROPOSED and e.after is Status.APPROVED
    ]
    return bool(approvals) and approvals[-1].identified_by in VERIFIED


def approval_words(digest: str) -> str:
    """Return what an approval says in the history of a change, which must be trusted later."""
    return f"approved {digest}"


def is_same_person(one: str, other: str) -> bool:
    """Return whether two names in the ledger are to be trusted as those of one person only."""
    return normalized_name(one) == normalized_name(other)


def normalized_name(who: str) -> str:
    """Return a trusted name without differences of case, spaces and Unicode composition."""
    return " ".join(unicodedata.normalize("NFKC", who).split()).casefold()
