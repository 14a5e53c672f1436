"""The settlement of a change that may have been written: its result, found by reading back.

Pure: the account's state is a value.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from warehouse.ledger.change import AT_MOST, Action, Change, Status

from .account_state import AccountState, MilestoneState
from .milestone import edits_since_proposed, has_requested_values

PROPOSE_AGAIN = "Propose the change again if it is still wanted"


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """The new status of a change, and the reason.

    Args:
        status: The new status; approved if the change never arrived at Kantata.
        why: The reason, as a sentence for people.
        milestone_id: The id of its milestone; None if it has none.
    """

    status: Status
    why: str
    milestone_id: str | None = None


def settle(change: Change, account: AccountState) -> Settlement | None:
    """Return the settlement of a change whose outcome is unknown; None if it cannot be known."""
    if account.why_unknown(change):
        return None
    if change.action is Action.CREATE:
        return _settle_create(change, account)
    status, why = _settle_existing(change, account)
    return Settlement(status=status, why=why, milestone_id=change.milestone_id)


def settle_throttled(change: Change, refusal: str, account: AccountState) -> Settlement:
    """Return the settlement of a change that Kantata throttled: it may have been applied anyway.

    Args:
        change: The change.
        refusal: Kantata's answer, as a sentence for people.
        account: The account's state, read after the answer.
    """
    settlement = settle(change, account)
    if settlement is None:
        why = f"{refusal}; the result cannot be read back: {account.why_unknown(change)}"
        return Settlement(status=Status.UNKNOWN, why=why, milestone_id=change.milestone_id)
    return replace(settlement, why=f"{refusal}; {settlement.why}")


def settle_refused(change: Change, refusal: str, account: AccountState) -> Settlement:
    """Return the settlement of a change that Kantata refused: it may have been applied anyway.

    Args:
        change: The change.
        refusal: Kantata's answer, as a sentence for people.
        account: The account's state, read after the refusal.
    """
    settlement = settle_throttled(change, refusal, account)
    if settlement.status is Status.APPROVED:
        return Settlement(status=Status.FAILED, why=refusal, milestone_id=change.milestone_id)
    return settlement


def settle_refused_batch(change: Change, refusal: str, account: AccountState) -> Settlement:
    """Return the settlement of a create whose batch was refused, perhaps because of another one.

    Args:
        change: The create.
        refusal: Kantata's answer to the batch, as a sentence for people.
        account: The account's state, read after the refusal.
    """
    settlement = settle_refused(change, refusal, account)
    if settlement.status is not Status.FAILED:
        return settlement
    why = f"{refusal}, in a batch; it was not created so far, and is sent alone after another look"
    return Settlement(status=Status.UNKNOWN, why=why)


def _settle_existing(change: Change, account: AccountState) -> tuple[Status, str]:
    """Return the settlement of an update or a delete: its status, and the reason."""
    if str(change.milestone_id) in account.deleted:
        if change.action is Action.DELETE:
            return Status.APPLIED, "read back: the milestone is deleted"
        return Status.CONFLICT, "read back: somebody deleted the milestone"
    state = account.milestones[str(change.milestone_id)]
    if change.action is Action.UPDATE and has_requested_values(state.image, change):
        return Status.APPLIED, "read back: the milestone has the requested values"
    if state.invoiced:
        why = f"read back: the milestone may be invoiced: {state.invoiced}. {PROPOSE_AGAIN}"
        return Status.CONFLICT, why
    if edits := edits_since_proposed(change, state.image, account.units):
        why = f"read back: somebody edited the milestone: {edits}. {PROPOSE_AGAIN}"
        return Status.CONFLICT, why
    if change.action is Action.UPDATE and _changed_since_sent(change, state):
        return (
            Status.CONFLICT,
            "read back: the milestone has its old values, but was edited after this change was "
            f"{_since(change)}: perhaps it was written, and then put back by somebody. "
            f"{PROPOSE_AGAIN}",
        )
    return Status.APPROVED, "read back: it was not written"


def _settle_create(change: Change, account: AccountState) -> Settlement:
    """Return the settlement of a create, by the milestones that carry its id or equal it."""
    created = account.created_by(change)
    if len(created) == 1:
        return Settlement(
            status=Status.APPLIED,
            why=f"read back: it was created, as milestone {created[0]}",
            milestone_id=created[0],
        )
    if created:
        return Settlement(status=Status.CONFLICT, why=created_twice(created))
    known = account.created_by_others(change).union(change.twins)
    if new := [id_ for id_ in account.duplicates_of(change) if id_ not in known]:
        return Settlement(
            status=Status.CONFLICT,
            why=f"read back: milestone {', '.join(new)} is equal, but does not carry the change's "
            "id: this change or somebody else created it. To create another one, propose it again "
            "with --allow-duplicate",
        )
    return Settlement(status=Status.APPROVED, why="read back: it was not created")


def created_twice(milestone_ids: Sequence[str]) -> str:
    """Describe for a settlement or a plan that one create led to these milestones."""
    return (
        f"it was created more than once, as milestones {', '.join(milestone_ids)}: delete those "
        "in Kantata that are not wanted"
    )


def _since(change: Change) -> str:
    """Return for a settlement what happened to a change before any edit that counts."""
    return "approved" if (change.seen_updated_at or "").startswith(AT_MOST) else "sent"


def _changed_since_sent(change: Change, state: MilestoneState) -> bool:
    """Return for a settlement whether a milestone was edited after its change was sent."""
    updated_at = parse_moment(state.updated_at)
    if change.seen_updated_at is not None and change.seen_updated_at.startswith(AT_MOST):
        approved_at = parse_moment(change.seen_updated_at.removeprefix(AT_MOST))
        if isinstance(updated_at, datetime) and isinstance(approved_at, datetime):
            return updated_at > approved_at
        return True
    if change.seen_updated_at is not None:
        return updated_at != parse_moment(change.seen_updated_at)
    # An earlier release sent it, which stored only the time of sending.
    return (
        isinstance(updated_at, datetime)
        and change.sent_at is not None
        and updated_at > change.sent_at
    )


def parse_moment(text: str | None) -> datetime | str | None:
    """Parse a time with an offset, for a settlement; return the text itself if it is not one."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return text
    return moment if moment.tzinfo else text
