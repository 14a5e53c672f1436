"""What would be written, decided from the changes and the account as it was just read.

Pure: the plan is a value, so what `plan` shows and what `push` does cannot differ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from warehouse.ledger.change import Action, Change, Status

from .account_state import AccountState
from .milestone import edits_since_proposed, has_requested_values
from .settlement import Settlement, settle


@dataclass(frozen=True)
class Write:
    """It is to be sent.

    Args:
        change: Which one.
        duplicates: Ids of equal milestones that are there already, and may be.
        seen_updated_at: When the milestone was last changed, in Kantata's own text.
    """

    change: Change
    duplicates: tuple[str, ...] = ()
    seen_updated_at: str | None = None


@dataclass(frozen=True)
class NoOp:
    """The account is already as asked.

    Args:
        change: Which one.
        why: In words.
        milestone_id: The milestone that is as asked.
    """

    change: Change
    why: str
    milestone_id: str | None


@dataclass(frozen=True)
class Conflict:
    """The account is not what the proposer saw.

    Args:
        change: Which one.
        why: In words.
    """

    change: Change
    why: str


@dataclass(frozen=True)
class Deferred:
    """It cannot be decided now.

    Args:
        change: Which one.
        why: In words.
    """

    change: Change
    why: str


Step = Write | NoOp | Conflict | Deferred


def build_plan(changes: Sequence[Change], account: AccountState) -> list[Step]:
    """What to do with each change, given the account as it is.

    Args:
        changes: Approved ones, and such as may have been written, for which that is found out.
        account: The account.
    """
    return [
        _plan_approved(change, account)
        if change.status is Status.APPROVED
        else _plan_unknown(change, settle(change, account), account)
        for change in changes
    ]


def _plan_unknown(change: Change, settlement: Settlement | None, account: AccountState) -> Step:
    """What a push does with a change that may have been written."""
    if settlement is None:
        return Deferred(change, account.why_unknown(change))
    if settlement.status is Status.APPLIED:
        return NoOp(change, settlement.why, settlement.milestone_id)
    if settlement.status is Status.CONFLICT:
        return Conflict(change, settlement.why)
    return _plan_approved(change, account)


def _plan_approved(change: Change, account: AccountState) -> Step:
    if change.approved_digest != change.digest:
        return Conflict(change, "it is not what was approved")
    if why := account.why_unknown(change):
        return Deferred(change, why)
    if change.action is Action.CREATE:
        return _plan_create(change, account)
    return _plan_existing(change, account)


def _plan_existing(change: Change, account: AccountState) -> Step:
    """What to do with an approved update or delete."""
    id_ = str(change.milestone_id)
    if id_ in account.deleted:
        if change.action is Action.DELETE:
            return NoOp(change, "the milestone is gone already", id_)
        return Conflict(change, "the milestone was deleted meanwhile")
    state = account.milestones[id_]
    if change.action is Action.UPDATE and has_requested_values(state.image, change):
        return NoOp(change, "the milestone is as asked already", id_)
    if state.invoiced:
        return Conflict(change, f"the milestone may be invoiced: {state.invoiced}")
    if edits := edits_since_proposed(change, state.image, account.units):
        return Conflict(change, f"edited since it was proposed: {edits}")
    return Write(change, seen_updated_at=state.updated_at)


def _plan_create(change: Change, account: AccountState) -> Step:
    created = account.created_by(change)
    if len(created) > 1:
        return Conflict(change, f"made more than once: milestones {', '.join(created)}")
    if created:
        return NoOp(change, f"it was made already, as milestone {created[0]}", created[0])
    currency = account.project_currencies[change.workspace_id]
    if currency != change.currency:
        return Conflict(
            change,
            f"the project's currency was {change.currency or 'none'} when it was proposed, and is "
            f"{currency or 'none'}: the amount would be another one",
        )
    duplicates = account.duplicates_of(change)
    known = change.twins if change.attempts else ()
    new = [id_ for id_ in duplicates if id_ not in known]
    if new and not (change.duplicate and not change.attempts):
        return Conflict(change, f"the project has an equal milestone: {', '.join(new)}")
    return Write(change, tuple(duplicates))


def limit_steps(steps: Sequence[Step], max_changes: int) -> list[Step]:
    """The steps of one push: what goes beyond the changes it may decide on is deferred."""
    limited: list[Step] = []
    remaining = max_changes
    for step in steps:
        if _counts(step):
            remaining -= 1
            if remaining < 0:
                step = Deferred(step.change, "beyond max_changes: left for a later push")
        limited.append(step)
    return limited


def _counts(step: Step) -> bool:
    """Whether a step takes one of the places that ``max_changes`` allows."""
    if isinstance(step, Deferred):
        return False
    return isinstance(step, Write) or step.change.status is Status.APPROVED
