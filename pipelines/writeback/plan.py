"""What would be written, decided from the changes and the account as it was just read.

Pure: the plan is a value, so what `plan` shows and what `push` does cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from warehouse.ledger.change import (
    Action,
    Change,
    Image,
    Status,
    Units,
    Value,
    duplicate_fields,
    value_words,
)

_INVOICES = ("invoice_id", "invoice_ids")


@dataclass(frozen=True)
class MilestoneState:
    """A milestone as it is now.

    Args:
        image: Its fields.
        invoiced: Why it counts as invoiced, in words; empty if it does not.
        updated_at: When it was last changed, in Kantata's own text.
    """

    image: Image
    invoiced: str = ""
    updated_at: str | None = None


@dataclass(frozen=True)
class AccountState:
    """The account as it was just read, as far as some changes need it.

    Args:
        milestones: By id.
        gone: Milestones that are deleted, for certain.
        unreadable: Why milestones could not be judged, by their id.
        closed: Why nothing can be made in projects of creates, by the project's id.
        made: Ids of the milestones that carry a change's id, by that.
        projects: Milestones of the projects of creates, by id.
        currencies: Of the projects of creates, by the project's id.
        units: What a subunit is worth, as far as that is known; only for words.
        read_at: Since when anything here may have changed, in seconds of the monotonic clock.
    """

    milestones: Mapping[str, MilestoneState] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    closed: Mapping[str, str] = field(default_factory=dict)
    made: Mapping[str, frozenset[str]] = field(default_factory=dict)
    projects: Mapping[str, MilestoneState] = field(default_factory=dict)
    currencies: Mapping[str, Value] = field(default_factory=dict)
    units: Units = field(default_factory=dict)
    read_at: float = 0.0

    def why_unknown(self, change: Change) -> str:
        """Why nothing can be said about a change; empty if something can."""
        if change.action is Action.CREATE:
            return self.closed.get(change.workspace_id, "")
        return self.unreadable.get(str(change.milestone_id), "")


@dataclass(frozen=True)
class Write:
    """It is to be sent.

    Args:
        change: Which one.
        twins: Equal milestones that are there already, and may be.
        seen_updated_at: When the milestone was last changed, in Kantata's own text.
    """

    change: Change
    twins: tuple[str, ...] = ()
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


def build_plan(changes: list[Change], live: AccountState) -> list[Step]:
    """What to do with each change, given the account as it is.

    Args:
        changes: Approved ones, and such as may have been written, for which that is found out.
        live: The account.
    """
    return [
        _plan_approved(change, live)
        if change.status is Status.APPROVED
        else _plan_unknown(change, live)
        for change in changes
    ]


def _plan_unknown(change: Change, live: AccountState) -> Step:
    """What a push does with a change that may have been written."""
    if (found := settle(change, live)) is None:
        return Deferred(change, live.why_unknown(change))
    status, why, milestone_id = found
    if status is Status.APPLIED:
        return NoOp(change, why, milestone_id)
    if status is Status.CONFLICT:
        return Conflict(change, why)
    return _plan_approved(change, live)


def _plan_approved(change: Change, live: AccountState) -> Step:
    if change.approved_digest != change.digest:
        return Conflict(change, "it is not what was approved")
    if change.action is Action.CREATE:
        return _plan_create(change, live)
    id_ = str(change.milestone_id)
    if why := live.why_unknown(change):
        return Deferred(change, why)
    if id_ in live.gone:
        if change.action is Action.DELETE:
            return NoOp(change, "the milestone is gone already", id_)
        return Conflict(change, "the milestone was deleted meanwhile")
    seen = live.milestones[id_]
    if change.action is Action.UPDATE and _has_requested_values(change, seen.image):
        return NoOp(change, "the milestone is as asked already", id_)
    if seen.invoiced:
        return Conflict(change, f"the milestone may be invoiced: {seen.invoiced}")
    if edits := _edits(change, seen.image, live.units):
        return Conflict(change, f"edited since it was proposed: {edits}")
    return Write(change, seen_updated_at=seen.updated_at)


def _plan_create(change: Change, live: AccountState) -> Step:
    if why := live.why_unknown(change):
        return Deferred(change, why)
    made = sorted(live.made.get(change.change_id, ()))
    if len(made) > 1:
        return Conflict(change, f"made more than once: milestones {', '.join(made)}")
    if made:
        return NoOp(change, f"it was made already, as milestone {made[0]}", made[0])
    currency = live.currencies[change.workspace_id]
    if currency != change.currency:
        return Conflict(
            change,
            f"the project's currency was {change.currency or 'none'} when it was proposed, and is "
            f"{currency or 'none'}: the amount would be another one",
        )
    twins = _duplicates(change, live)
    new = [id_ for id_ in twins if id_ not in change.twins] if change.attempts else twins
    if new and not (change.duplicate and not change.attempts):
        return Conflict(change, f"the project has an equal milestone: {', '.join(new)}")
    return Write(change, tuple(twins))


def settle(change: Change, live: AccountState) -> tuple[Status, str, str | None] | None:
    """What became of a change nobody knows of: its new status, why, and its milestone.

    None if that cannot be known now.
    """
    if change.action is Action.CREATE:
        return _settle_create(change, live)
    id_ = str(change.milestone_id)
    if live.why_unknown(change):
        return None
    if id_ in live.gone:
        if change.action is Action.DELETE:
            return Status.APPLIED, "read back: the milestone is gone", id_
        return Status.CONFLICT, "read back: the milestone was deleted meanwhile", id_
    seen = live.milestones[id_]
    if change.action is Action.UPDATE and _has_requested_values(change, seen.image):
        return Status.APPLIED, "read back: the milestone is as asked", id_
    if seen.invoiced:
        return Status.CONFLICT, f"read back: the milestone may be invoiced: {seen.invoiced}", id_
    if edits := _edits(change, seen.image, live.units):
        return Status.CONFLICT, f"read back: it is neither as it was nor as asked: {edits}", id_
    if change.action is Action.UPDATE and _changed_since_sent(change, seen):
        return (
            Status.CONFLICT,
            "read back: the milestone is as it was before, and yet it was changed after this was "
            "sent: was it written, and then put back by somebody?",
            id_,
        )
    return Status.APPROVED, "read back: it never took effect", id_


def _settle_create(change: Change, live: AccountState) -> tuple[Status, str, str | None] | None:
    if live.why_unknown(change):
        return None
    made = sorted(live.made.get(change.change_id, ()))
    if len(made) == 1:
        return Status.APPLIED, f"read back: it was made, as milestone {made[0]}", made[0]
    if made:
        return Status.CONFLICT, f"made more than once: milestones {', '.join(made)}", None
    if new := [id_ for id_ in _duplicates(change, live) if id_ not in change.twins]:
        return (
            Status.CONFLICT,
            f"read back: milestone {', '.join(new)} is equal and does not carry the change's id: "
            "was it made by this change, or by somebody else?",
            None,
        )
    return Status.APPROVED, "read back: it was never made", None


def expected(change: Change) -> Image:
    """A milestone as it must be once a change was applied, as far as the change tells."""
    if change.action is Action.CREATE:
        unset = {"date_to_invoice": None, "story_id": None, "currency": change.currency}
        return {**unset, **change.after}
    whole = {**change.before, **change.after}
    return {name: value for name, value in whole.items() if name not in _INVOICES}


def differences(wanted: Image, image: Image, units: Units) -> str:
    """Where a milestone is not as wanted, in words."""
    return "; ".join(
        f"{_label(name)} is {value_words(name, image.get(name), image.get('currency'), units)}, "
        f"expected was {value_words(name, value, wanted.get('currency'), units)}"
        for name, value in wanted.items()
        if image.get(name) != value
    )


def _label(name: str) -> str:
    return "amount" if name == "amount_in_cents" else name


def _has_requested_values(change: Change, image: Image) -> bool:
    return all(image.get(name) == value for name, value in change.after.items())


def _edits(change: Change, image: Image, units: Units) -> str:
    return "; ".join(
        f"{_label(name)} was {value_words(name, value, change.currency, units)}, "
        f"is {value_words(name, image.get(name), image.get('currency'), units)}"
        for name, value in change.before.items()
        if image.get(name) != value
    )


def _changed_since_sent(change: Change, seen: MilestoneState) -> bool:
    """Whether a milestone was changed after a change of it was sent, whoever did that."""
    now = _moment(seen.updated_at)
    if change.seen_updated_at is not None:
        return now != _moment(change.seen_updated_at)
    # An earlier release sent it, and kept only when.
    return isinstance(now, datetime) and change.sent_at is not None and now > change.sent_at


def _moment(text: str | None) -> datetime | str | None:
    try:
        moment = datetime.fromisoformat(text or "")
    except ValueError:
        return text
    return moment if moment.tzinfo else text


def _duplicates(change: Change, live: AccountState) -> list[str]:
    wanted = duplicate_fields(change.after)
    return [id_ for id_, seen in live.projects.items() if duplicate_fields(seen.image) == wanted]
