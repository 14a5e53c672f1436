"""Settling a create by hand: a person says what became of it, since Kantata does not show it.

What the person says is checked as far as Kantata shows it. The change is never sent again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sources.kantata.extract.deletions import NOT_ALLOWED
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import COMMAND_LINE, Action, Change, Status
from warehouse.ledger.find import find_change
from warehouse.ledger.trust import is_same_person

from .account_state import AccountState
from .milestone import differences, expected_image
from .push_session import PushSession
from .remote_state import read_milestone
from .settlement import PROPOSE_AGAIN, parse_moment

_CLOCK_TOLERANCE = timedelta(days=1)  # the proposal has the time of a machine


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a person found out about a create of unknown outcome.

    Args:
        change_id: The change.
        milestone_id: The milestone that it created; None if it created none.
        actor: The person.
        reason: How the person knows.
    """

    change_id: str
    milestone_id: str | None
    actor: str
    reason: str


def settle_by_hand(session: PushSession, finding: Finding) -> None:
    """Settle a create of unknown outcome as a person found it, and add it to the session's result.

    Args:
        session: A new session. The push lock of its ledger must be held.
        finding: What the person found.

    Raises:
        ChangeRefused: If the person may not say so, or Kantata shows otherwise.
        KantataError: If the account cannot be read.
        WarehouseError: If the ledger cannot be used or belongs to another account.
    """
    session.open()
    change = find_change(session.ledger, finding.change_id)
    _check_allowed(change, finding)
    if why := session.why_too_early(change):
        raise ChangeRefused(f"change {change.change_id} cannot be settled yet: {why}")
    account = _account(session, change)
    created = account.created_by(change)
    if created and finding.milestone_id not in created:
        raise ChangeRefused(
            f"milestone {', '.join(created)} carries the id of change {change.change_id}: settle "
            f"it with --created {created[0]}"
        )
    if finding.milestone_id is None:
        status, why = Status.CONFLICT, "not created"
    else:
        _check_not_of_another(session, change, account, finding.milestone_id)
        status, why = Status.APPLIED, _why_created(session, change, finding.milestone_id)
    session.ledger.identified_by = COMMAND_LINE
    moved = session.ledger.transition(
        change,
        status,
        who=finding.actor,
        what=f"{why}, says {finding.actor}: {finding.reason}"
        + ("" if finding.milestone_id else f". {PROPOSE_AGAIN}"),
        milestone_id=finding.milestone_id,
    )
    session.ledger.identified_by = None
    session.result.changes.append(moved)


def _check_allowed(change: Change, finding: Finding) -> None:
    """Refuse to settle by hand what a push settles, or what the person proposed."""
    if change.action is not Action.CREATE or change.status is not Status.UNKNOWN:
        raise ChangeRefused(
            f"change {change.change_id} is {change.status} ({change.action}): only a create whose "
            "outcome is unknown is settled by hand"
        )
    if is_same_person(finding.actor, change.proposer):
        raise ChangeRefused(
            f"change {change.change_id} was not settled: {finding.actor} proposed it, and another "
            "person must settle it (--as NAME)"
        )
    if not finding.reason.strip():
        raise ChangeRefused("--reason is empty: say how you know")


def _why_created(session: PushSession, change: Change, milestone_id: str) -> str:
    """Check that a milestone can be the one that a change settled by hand created."""
    is_id = milestone_id.isascii() and milestone_id.isdecimal()
    # By its id alone: lists may not show it yet.
    state = read_milestone(session.reader, milestone_id) if is_id else None
    if state is None:
        raise ChangeRefused(f"milestone {milestone_id} cannot be read: nothing was settled")
    if state.image["workspace_id"] != change.workspace_id:
        raise ChangeRefused(
            f"milestone {milestone_id} belongs to project {state.image['workspace_id']}, not to "
            f"{change.workspace_id}: nothing was settled"
        )
    created_at, proposed_at = parse_moment(state.created_at), change.proposed_at
    if (
        isinstance(created_at, datetime)
        and proposed_at
        and created_at < proposed_at - _CLOCK_TOLERANCE
    ):
        raise ChangeRefused(
            f"milestone {milestone_id} was created at "
            f"{created_at.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC, before this change was proposed: "
            "nothing was settled"
        )
    edits = differences(expected_image(change), state.image, session.units)
    return f"created as milestone {milestone_id}" + (f" (today {edits})" if edits else "")


def _check_not_of_another(
    session: PushSession, change: Change, account: AccountState, milestone_id: str
) -> None:
    """Refuse a milestone that was there before a change settled by hand, or is another's."""
    is_applied = any(
        other.action is Action.CREATE and other.milestone_id == milestone_id
        for other in session.changes(Status.APPLIED)
    )
    if is_applied or milestone_id in account.created_by_others(change):
        raise ChangeRefused(
            f"milestone {milestone_id} was created by another change: nothing was settled"
        )
    if milestone_id in change.twins:
        raise ChangeRefused(
            f"milestone {milestone_id} was there before change {change.change_id} was sent: "
            "nothing was settled"
        )


def _account(session: PushSession, change: Change) -> AccountState:
    """Return the state of the account for a change that is settled by hand."""
    try:
        account = session.account_state([change])
    except NOT_ALLOWED as error:
        raise ChangeRefused(f"{error}: nothing was settled") from None
    if why := account.why_unknown(change):
        raise ChangeRefused(f"{why}: nothing was settled")
    return account
