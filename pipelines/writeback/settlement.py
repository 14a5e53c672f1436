"""How a change is settled that may have been written, decided from the account as it was just read.

Pure: the account is a value.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from warehouse.ledger.change import Action, Change, Status

from .account_state import AccountState, MilestoneState
from .milestone import edits_since_proposed, has_requested_values


@dataclass(frozen=True, kw_only=True)
class Settlement:
    """How a change is settled.

    Args:
        status: Its new status; approved if it never arrived.
        why: In words.
        milestone_id: Its milestone; None if there is none.
    """

    status: Status
    why: str
    milestone_id: str | None = None


def settle(change: Change, account: AccountState) -> Settlement | None:
    """The result of a change whose outcome is unknown; None if it cannot be known now."""
    if account.why_unknown(change):
        return None
    if change.action is Action.CREATE:
        return _settle_create(change, account)
    status, why = _settle_existing(change, account)
    return Settlement(status=status, why=why, milestone_id=change.milestone_id)


def settle_refused(change: Change, refusal: str, account: AccountState) -> Settlement:
    """How a change is settled that Kantata refused, and may have done all the same.

    Args:
        change: Which one.
        refusal: What Kantata answered, in words.
        account: The account as it was read after that.
    """
    settlement = settle(change, account)
    if settlement is None:
        why = f"{refusal}; and it cannot be read back: {account.why_unknown(change)}"
        return Settlement(status=Status.UNKNOWN, why=why, milestone_id=change.milestone_id)
    if settlement.status is Status.APPROVED:
        return Settlement(status=Status.FAILED, why=refusal, milestone_id=change.milestone_id)
    return replace(settlement, why=f"{refusal}; {settlement.why}")


def _settle_existing(change: Change, account: AccountState) -> tuple[Status, str]:
    """The result of an update or a delete, and why."""
    if str(change.milestone_id) in account.deleted:
        if change.action is Action.DELETE:
            return Status.APPLIED, "read back: the milestone is gone"
        return Status.CONFLICT, "read back: the milestone was deleted meanwhile"
    state = account.milestones[str(change.milestone_id)]
    if change.action is Action.UPDATE and has_requested_values(state.image, change):
        return Status.APPLIED, "read back: the milestone is as asked"
    if state.invoiced:
        return Status.CONFLICT, f"read back: the milestone may be invoiced: {state.invoiced}"
    if edits := edits_since_proposed(change, state.image, account.units):
        return Status.CONFLICT, f"read back: it is neither as it was nor as asked: {edits}"
    if change.action is Action.UPDATE and _changed_since_sent(change, state):
        return (
            Status.CONFLICT,
            "read back: the milestone is as it was before, and yet it was changed after this was "
            "sent: was it written, and then put back by somebody?",
        )
    return Status.APPROVED, "read back: it never took effect"


def _settle_create(change: Change, account: AccountState) -> Settlement:
    created = account.created_by(change)
    if len(created) == 1:
        return Settlement(
            status=Status.APPLIED,
            why=f"read back: it was made, as milestone {created[0]}",
            milestone_id=created[0],
        )
    if created:
        why = f"made more than once: milestones {', '.join(created)}"
        return Settlement(status=Status.CONFLICT, why=why)
    if new := [id_ for id_ in account.duplicates_of(change) if id_ not in change.twins]:
        return Settlement(
            status=Status.CONFLICT,
            why=f"read back: milestone {', '.join(new)} is equal and does not carry the change's "
            "id: was it made by this change, or by somebody else?",
        )
    return Settlement(status=Status.APPROVED, why="read back: it was never made")


def _changed_since_sent(change: Change, state: MilestoneState) -> bool:
    """Whether a milestone was changed by anybody after a change of it was sent."""
    updated_at = _moment(state.updated_at)
    if change.seen_updated_at is not None:
        return updated_at != _moment(change.seen_updated_at)
    # An earlier release sent it, and kept only when.
    return (
        isinstance(updated_at, datetime)
        and change.sent_at is not None
        and updated_at > change.sent_at
    )


def _moment(text: str | None) -> datetime | str | None:
    """A time that can be compared; the text itself if it is not one."""
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return text
    return moment if moment.tzinfo else text
