"""Decisions on changes that a person saw on a page: by id and whole digest, all or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from warehouse.errors import ChangedSince, ChangeRefused, OwnChange, UnknownChange
from warehouse.ledger.change import Change, Status
from warehouse.ledger.store import Ledger
from warehouse.ledger.trust import is_same_person

from .fields import check_text


class SeenChange(NamedTuple):
    """A change as a person saw it: its id, and its digest then."""

    change_id: str
    digest: str


def approve_seen(ledger: Ledger, seen: Sequence[SeenChange], *, actor: str) -> list[Change]:
    """Approve seen changes, which another person proposed.

    Raises:
        UnknownChange, OwnChange, ChangedSince: If one cannot be approved; none is approved then.
    """
    return _decide(
        ledger,
        seen,
        allowed=frozenset({Status.PROPOSED}),
        refused=lambda change: (
            "you proposed it, and another person must approve it"
            if is_same_person(actor, change.proposer)
            else ""
        ),
        decide=lambda change: ledger.approve(change, actor),
    )


def reject_seen(
    ledger: Ledger, seen: Sequence[SeenChange], *, actor: str, reason: str
) -> list[Change]:
    """Reject seen changes.

    Raises:
        UnknownChange, ChangedSince: If one cannot be rejected; none is rejected then.
        ChangeRefused: If there is no reason.
    """
    why = _checked(reason)
    if not why:
        raise ChangeRefused("The reason is missing: say why you reject, for the audit trail.")
    return _decide(
        ledger,
        seen,
        allowed=frozenset({Status.PROPOSED}),
        decide=lambda change: ledger.transition(change, Status.REJECTED, who=actor, what=why),
    )


def withdraw_seen(
    ledger: Ledger, seen: Sequence[SeenChange], *, actor: str, reason: str, only_own: bool
) -> list[Change]:
    """Withdraw seen changes that are not sent yet.

    Args:
        ledger: The ledger of changes.
        seen: The changes.
        actor: The person who withdraws.
        reason: Why; empty for ``withdrawn``.
        only_own: Whether the person may withdraw only what they proposed.

    Raises:
        UnknownChange, OwnChange, ChangedSince: If one cannot be withdrawn; none is withdrawn then.
    """
    why = _checked(reason) or "withdrawn"
    return _decide(
        ledger,
        seen,
        allowed=frozenset({Status.PROPOSED, Status.APPROVED}),
        refused=lambda change: (
            f"{change.proposer} proposed it, and you may withdraw only what you proposed"
            if only_own and not is_same_person(actor, change.proposer)
            else ""
        ),
        decide=lambda change: ledger.transition(change, Status.WITHDRAWN, who=actor, what=why),
    )


def _checked(reason: str) -> str:
    """Return the reason of a decision on seen changes; refuse invisible characters."""
    return check_text("the reason", reason).strip()


def _decide(
    ledger: Ledger,
    seen: Sequence[SeenChange],
    *,
    allowed: frozenset[Status],
    decide: Callable[[Change], Change],
    refused: Callable[[Change], str] = lambda _: "",
) -> list[Change]:
    """Decide on seen changes in one transaction, or on none."""
    unknown: list[str] = []
    own: list[str] = []
    changed: list[str] = []
    with ledger.transaction():
        found: dict[str, Change] = {}
        for change_id, digest in seen:
            try:
                change = found[change_id] = ledger.change(change_id)
            except ChangeRefused:
                unknown.append(f"There is no change {change_id[:40]!r}.")
                continue
            if why := refused(change):
                own.append(f"Change {change_id}: {why}.")
            elif change.digest != digest.strip().lower():
                changed.append(f"Change {change_id} is not the one that you saw.")
            elif change.status not in allowed:
                changed.append(f"Change {change_id} is {change.status} already.")
        for error, lines in ((UnknownChange, unknown), (OwnChange, own), (ChangedSince, changed)):
            if lines:
                raise error(*lines)
        return [decide(change) for change in found.values()]
