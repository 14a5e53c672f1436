"""Decisions on changes: approve, reject and withdraw.

If one of the changes is refused, none is decided on. The ledger makes sure that nobody approves
what they proposed.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Change, Status
from warehouse.ledger.find import find_change
from warehouse.ledger.store import Ledger
from warehouse.ledger.trust import is_same_person

from .fields import check_text

DIGEST_LENGTH = 12  # characters of a digest that are shown, and that identify it
_MOST_LISTED = 10  # ids that a message lists
_PROPOSED = frozenset({Status.PROPOSED})


class _NotAll(Exception):
    """A change was refused, so that no decision is committed."""


@dataclass
class DecisionResult:
    """The result of a decision on some changes.

    Args:
        decided: The changes that were decided on, as they are now; none if one is refused.
        refused: The reason why a change could not be decided on, by its id.
    """

    decided: list[Change] = field(default_factory=list)
    refused: dict[str, str] = field(default_factory=dict)


def approve(
    ledger: Ledger, change_ids: Sequence[str], *, actor: str, digest: str | None = None
) -> DecisionResult:
    """Approve changes that another person proposed.

    Args:
        ledger: The ledger of changes.
        change_ids: The ids of the changes.
        actor: The person who approves.
        digest: The digest that the person saw, or its beginning; a change with another digest is
            refused. None for no such check.

    Raises:
        ChangeRefused: If the digest is too short, or given for more than one change.
    """
    if digest is not None and (len(digest.strip()) < DIGEST_LENGTH or len(change_ids) > 1):
        raise ChangeRefused(
            f"--digest takes one change and at least {DIGEST_LENGTH} characters: copy it from "
            "`milestones changes`"
        )

    def approve_one(change: Change) -> Change:
        if digest is not None:
            _check_digest(change, digest)
        return ledger.approve(change, actor)

    return _decide_each(ledger, lambda: change_ids, approve_one)


def list_digest(changes: Iterable[Change]) -> str:
    """Return the digest of all proposed changes among these, in any order; empty without one.

    It is the SHA-256 of one line for each proposed change, `ID DIGEST`, sorted. So it differs as
    soon as a change is proposed, altered or decided on.
    """
    lines = sorted(f"{c.change_id} {c.digest}" for c in changes if c.status in _PROPOSED)
    return hashlib.sha256("\n".join(lines).encode()).hexdigest() if lines else ""


def approve_all(ledger: Ledger, *, actor: str, digest: str | None) -> DecisionResult:
    """Approve all proposed changes, if they are still those of the list that the person saw.

    Args:
        ledger: The ledger of changes.
        actor: The person who approves.
        digest: The digest of the list, or its beginning.

    Raises:
        ChangeRefused: If the digest is missing or too short, no change is proposed, the list is
            another one now, or the person proposed any of it.
    """
    if digest is None or len(digest.strip()) < DIGEST_LENGTH:
        raise ChangeRefused(
            f"--all needs the digest of the list that you saw, at least {DIGEST_LENGTH} "
            "characters: look at `milestones changes`, and copy the command from its last line"
        )

    def proposed() -> list[str]:
        return _proposed_ids(ledger.changes(_PROPOSED), actor, digest)

    return _decide_each(ledger, proposed, lambda change: ledger.approve(change, actor))


def _proposed_ids(changes: Sequence[Change], actor: str, digest: str) -> list[str]:
    """Return the ids of all proposed changes to approve; refuse another list than the one seen."""
    if not changes:
        raise ChangeRefused(
            "no change is proposed, so there is nothing to approve. See all: "
            "milestones changes --all"
        )
    if not list_digest(changes).startswith(digest.strip().lower()):
        raise ChangeRefused(
            f"nothing was approved: {digest} is not the digest of the proposed changes. The list "
            "has changed since you saw it, so look again: milestones changes"
        )
    if own := [c.change_id for c in changes if is_same_person(actor, c.proposer)]:
        more = f" and {len(own) - _MOST_LISTED:,} more" if len(own) > _MOST_LISTED else ""
        raise ChangeRefused(
            f"nothing was approved: {actor} proposed {len(own):,} of the {len(changes):,} changes "
            f"({', '.join(own[:_MOST_LISTED])}{more}), and another person must approve them "
            "(--as NAME). To approve only the others, name them"
        )
    return [change.change_id for change in changes]


def _check_digest(change: Change, digest: str) -> None:
    """Refuse the approval of a change whose digest is not the given one."""
    if not change.digest.startswith(digest.strip().lower()):
        raise ChangeRefused(
            f"change {change.change_id} has the digest {change.digest[:DIGEST_LENGTH]}, not "
            f"{digest}: look at it again: milestones show {change.change_id}"
        )


def reject(ledger: Ledger, change_ids: Sequence[str], *, actor: str, reason: str) -> DecisionResult:
    """Reject proposed changes instead of approving them.

    Raises:
        ChangeRefused: If the reason is empty.
    """
    return _close_each(ledger, change_ids, Status.REJECTED, actor=actor, reason=reason)


def withdraw(
    ledger: Ledger, change_ids: Sequence[str], *, actor: str, reason: str
) -> DecisionResult:
    """Withdraw changes, approved or not, before they are sent.

    Raises:
        ChangeRefused: If the reason is empty.
    """
    return _close_each(ledger, change_ids, Status.WITHDRAWN, actor=actor, reason=reason)


def _close(ledger: Ledger, change: Change, status: Status, *, actor: str, why: str) -> Change:
    """Reject or withdraw a change; refuse to withdraw one that may have been sent."""
    if status is Status.WITHDRAWN and change.status is Status.UNKNOWN:
        raise ChangeRefused(
            f"change {change.change_id} cannot be withdrawn: it is unknown, so it may have been "
            "sent. Find out with `milestones reconcile`, which sends nothing. If it was not "
            "written, it is approved again, and can be withdrawn before the next push"
        )
    return ledger.transition(change, status, who=actor, what=why)


def _close_each(
    ledger: Ledger, change_ids: Sequence[str], status: Status, *, actor: str, reason: str
) -> DecisionResult:
    """Reject or withdraw each change, with a reason; refuse an empty reason."""
    why = check_text("--reason", reason).strip()
    if not why:
        raise ChangeRefused("--reason is empty: give a reason for the audit")
    return _decide_each(
        ledger,
        lambda: change_ids,
        lambda change: _close(ledger, change, status, actor=actor, why=why),
    )


def _decide_each(
    ledger: Ledger,
    selected: Callable[[], Iterable[str]],
    decide: Callable[[Change], Change],
) -> DecisionResult:
    """Decide on all changes, in the given order, or on none: approve, reject or withdraw them.

    Args:
        ledger: The ledger of changes.
        selected: Returns the ids of the changes, or their beginnings, in the transaction.
        decide: Decides on one change.
    """
    result = DecisionResult()
    with suppress(_NotAll), ledger.transaction():
        seen = set()
        for text in selected():
            change_id = text
            try:
                change = find_change(ledger, text)
                change_id = change.change_id
                if change_id not in seen:
                    seen.add(change_id)
                    result.decided.append(decide(change))
            except ChangeRefused as error:
                result.refused[change_id] = str(error)
        if result.refused:
            result.decided.clear()
            raise _NotAll
    return result
