"""The plan of a push: one step for each change, decided from the account as it was just read.

Pure: the plan is a value, so what `plan` shows and what `push` does cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from warehouse.ledger.change import Action, Change, Status

from .account_state import AccountState
from .milestone import edits_since_proposed, has_requested_values
from .settlement import PROPOSE_AGAIN, created_twice, settle


@dataclass(frozen=True)
class Write:
    """Send the change.

    Args:
        change: The change.
        duplicates: The ids of equal milestones that exist already, and are allowed.
        seen_updated_at: When the milestone was last edited, as the text that Kantata sent.
    """

    change: Change
    duplicates: tuple[str, ...] = ()
    seen_updated_at: str | None = None


@dataclass(frozen=True)
class NoOp:
    """Send nothing: the account already is as requested.

    Args:
        change: The change.
        why: The reason, as a sentence for people.
        milestone_id: The id of the milestone that is as requested.
    """

    change: Change
    why: str
    milestone_id: str | None


@dataclass(frozen=True)
class Conflict:
    """Send nothing: the account is not what the proposer saw.

    Args:
        change: The change.
        why: The reason, as a sentence for people.
    """

    change: Change
    why: str


@dataclass(frozen=True)
class Deferred:
    """Leave the change to a later push.

    Args:
        change: The change.
        why: The reason, as a sentence for people.
    """

    change: Change
    why: str


Step = Write | NoOp | Conflict | Deferred


def build_plan(
    changes: Sequence[Change],
    account: AccountState,
    *,
    untrusted: Mapping[str, str],
    not_again: Mapping[str, str],
) -> list[Step]:
    """Build the plan of a push: one step for each change.

    Args:
        changes: Approved changes, and changes that may have been written.
        account: The account's state, read for these changes.
        untrusted: Why a change must not be sent although its row is approved, by its id.
        not_again: Why a create of unknown outcome must not be sent again if it is not found, by
            its id.
    """
    return [
        _plan_approved(change, account, untrusted)
        if change.status is Status.APPROVED
        else _plan_unknown(change, account, untrusted, not_again.get(change.change_id, ""))
        for change in changes
    ]


def _plan_unknown(
    change: Change, account: AccountState, untrusted: Mapping[str, str], not_again: str
) -> Step:
    """Plan the step of a change that may have been written."""
    settlement = settle(change, account)
    if settlement is None:
        return Deferred(change, account.why_unknown(change))
    if settlement.status is Status.APPLIED:
        return NoOp(change, settlement.why, settlement.milestone_id)
    if settlement.status is Status.CONFLICT:
        return Conflict(change, settlement.why)
    if not_again:
        return Deferred(change, not_again)
    return _plan_approved(change, account, untrusted)


def _plan_approved(change: Change, account: AccountState, untrusted: Mapping[str, str]) -> Step:
    """Plan the step of an approved change, from the state of the account."""
    if why := untrusted.get(change.change_id):
        return Conflict(change, why)
    if why := account.why_unknown(change):
        return Deferred(change, why)
    if change.action is Action.CREATE:
        return _plan_create(change, account)
    return _plan_existing(change, account)


def _plan_existing(change: Change, account: AccountState) -> Step:
    """Plan the step of an approved update or delete."""
    id_ = str(change.milestone_id)
    if id_ in account.deleted:
        if change.action is Action.DELETE:
            return NoOp(change, "the milestone is already deleted", id_)
        return Conflict(change, "the milestone was deleted after this was proposed")
    state = account.milestones[id_]
    if change.action is Action.UPDATE and has_requested_values(state.image, change):
        return NoOp(change, "the milestone already has the requested values", id_)
    if state.invoiced:
        return Conflict(change, f"the milestone may be invoiced: {state.invoiced}. {PROPOSE_AGAIN}")
    if edits := edits_since_proposed(change, state.image, account.units):
        return Conflict(
            change, f"the milestone was edited after this was proposed: {edits}. {PROPOSE_AGAIN}"
        )
    return Write(change, seen_updated_at=state.updated_at)


def _plan_create(change: Change, account: AccountState) -> Step:
    """Plan the step of an approved create: write it, unless it exists or conflicts."""
    created = account.created_by(change)
    if len(created) > 1:
        return Conflict(change, created_twice(created))
    if created:
        return NoOp(change, f"it was already created, as milestone {created[0]}", created[0])
    currency = account.project_currencies[change.workspace_id]
    if currency != change.currency:
        return Conflict(
            change,
            f"the project's currency was {change.currency or 'none'} when it was proposed, and is "
            f"{currency or 'none'} now. Propose it again with an amount in that currency",
        )
    duplicates = account.duplicates_of(change)
    known = change.twins if change.attempts else ()
    new = [id_ for id_ in duplicates if id_ not in known]
    if new and not (change.duplicate and not change.attempts):
        return Conflict(
            change,
            f"the project already has an equal milestone, {', '.join(new)}. To create another one, "
            "propose it again with --allow-duplicate",
        )
    return Write(change, tuple(duplicates))


def limit_steps(steps: Sequence[Step], max_changes: int) -> list[Step]:
    """Defer the plan's steps beyond the number of changes that one push may decide on."""
    limited: list[Step] = []
    remaining = max_changes
    for step in steps:
        if _counts(step):
            remaining -= 1
            if remaining < 0:
                step = Deferred(step.change, "max_changes is reached: a later push takes it")
        limited.append(step)
    return limited


def _counts(step: Step) -> bool:
    """Return whether a step of the plan counts towards ``max_changes``."""
    if isinstance(step, Deferred):
        return False
    return isinstance(step, Write) or step.change.status is Status.APPROVED
