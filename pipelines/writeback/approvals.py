"""Decisions on changes: approve, reject and withdraw.

If one of the changes is refused, none is decided on. The ledger makes sure that nobody approves
what they proposed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Change, Status
from warehouse.ledger.store import Ledger

from .fields import check_text

DIGEST_LENGTH = 12  # characters of a digest that are shown, and that identify it


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

    return _decide_each(ledger, change_ids, approve_one)


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


def _close_each(
    ledger: Ledger, change_ids: Sequence[str], status: Status, *, actor: str, reason: str
) -> DecisionResult:
    """Reject or withdraw each change, with a reason; refuse an empty reason."""
    why = check_text("--reason", reason).strip()
    if not why:
        raise ChangeRefused("--reason is empty: give a reason for the audit")
    return _decide_each(
        ledger,
        change_ids,
        lambda change: ledger.transition(change, status, who=actor, what=why),
    )


def _decide_each(
    ledger: Ledger, change_ids: Iterable[str], decide: Callable[[Change], Change]
) -> DecisionResult:
    """Decide on all changes, in the given order, or on none: approve, reject or withdraw them."""
    result = DecisionResult()
    with suppress(_NotAll), ledger.transaction():
        for change_id in dict.fromkeys(change_ids):
            try:
                result.decided.append(decide(ledger.change(change_id)))
            except ChangeRefused as error:
                result.refused[change_id] = str(error)
        if result.refused:
            result.decided.clear()
            raise _NotAll
    return result
