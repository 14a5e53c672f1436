"""What would be written, decided from the changes and the account as it was just read.

Pure: the plan is a value, so what `plan` shows and what `push` does cannot differ.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from warehouse.change import Action, Change, Image, Status, twin


@dataclass(frozen=True)
class Seen:
    """A milestone as it is now.

    Args:
        image: Its fields.
        invoiced: Why it counts as invoiced, in words; empty if it does not.
    """

    image: Image
    invoiced: str = ""


@dataclass(frozen=True)
class Live:
    """The account as it was just read, as far as some changes need it.

    Args:
        milestones: By id.
        gone: Milestones that are deleted, for certain.
        unreadable: Why milestones or projects could not be judged, by their id.
        made: Ids of the milestones that carry a change's id, by that.
        projects: Milestones of the projects of creates, by id.
    """

    milestones: Mapping[str, Seen] = field(default_factory=dict)
    gone: frozenset[str] = frozenset()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    made: Mapping[str, frozenset[str]] = field(default_factory=dict)
    projects: Mapping[str, Seen] = field(default_factory=dict)


@dataclass(frozen=True)
class Write:
    """It is to be sent.

    Args:
        change: Which one.
        twins: Equal milestones that are there already, and may be.
    """

    change: Change
    twins: tuple[str, ...] = ()


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
class Later:
    """It cannot be decided now.

    Args:
        change: Which one.
        why: In words.
    """

    change: Change
    why: str


Step = Write | NoOp | Conflict | Later


def build_plan(changes: list[Change], live: Live) -> list[Step]:
    """What to do with each approved change, given the account as it is."""
    return [_step(change, live) for change in changes]


def _step(change: Change, live: Live) -> Step:
    if change.approved_digest != change.digest:
        return Conflict(change, "it is not what was approved")
    if change.action is Action.CREATE:
        return _create(change, live)
    id_ = str(change.milestone_id)
    if id_ in live.unreadable:
        return Later(change, live.unreadable[id_])
    if id_ in live.gone:
        if change.action is Action.DELETE:
            return NoOp(change, "the milestone is gone already", id_)
        return Conflict(change, "the milestone was deleted meanwhile")
    seen = live.milestones[id_]
    if change.action is Action.UPDATE and _as_asked(change, seen.image):
        return NoOp(change, "the milestone is as asked already", id_)
    if seen.invoiced:
        return Conflict(change, f"the milestone may be invoiced: {seen.invoiced}")
    if edits := _edits(change, seen.image):
        return Conflict(change, f"edited since it was proposed: {edits}")
    return Write(change)


def _create(change: Change, live: Live) -> Step:
    if change.workspace_id in live.unreadable:
        return Later(change, live.unreadable[change.workspace_id])
    made = sorted(live.made.get(change.change_id, ()))
    if len(made) > 1:
        return Conflict(change, f"made more than once: milestones {', '.join(made)}")
    if made:
        return NoOp(change, f"it was made already, as milestone {made[0]}", made[0])
    twins = _twins(change, live)
    new = [id_ for id_ in twins if id_ not in change.twins] if change.attempts else twins
    if new and not (change.duplicate and not change.attempts):
        return Conflict(change, f"the project has an equal milestone: {', '.join(new)}")
    return Write(change, tuple(twins))


def settle(change: Change, live: Live) -> tuple[Status, str, str | None] | None:
    """What became of a change nobody knows of: its new status, why, and its milestone.

    None if that cannot be known now.
    """
    if change.action is Action.CREATE:
        return _settle_create(change, live)
    id_ = str(change.milestone_id)
    if id_ in live.unreadable:
        return None
    if id_ in live.gone:
        if change.action is Action.DELETE:
            return Status.APPLIED, "read back: the milestone is gone", id_
        return Status.CONFLICT, "read back: the milestone was deleted meanwhile", id_
    seen = live.milestones[id_]
    if change.action is Action.UPDATE and _as_asked(change, seen.image):
        return Status.APPLIED, "read back: the milestone is as asked", id_
    if seen.invoiced:
        return Status.CONFLICT, f"read back: the milestone may be invoiced: {seen.invoiced}", id_
    if edits := _edits(change, seen.image):
        return Status.CONFLICT, f"read back: it is neither as it was nor as asked: {edits}", id_
    return Status.APPROVED, "read back: it never took effect", id_


def _settle_create(change: Change, live: Live) -> tuple[Status, str, str | None] | None:
    if change.workspace_id in live.unreadable:
        return None
    made = sorted(live.made.get(change.change_id, ()))
    if len(made) == 1:
        return Status.APPLIED, f"read back: it was made, as milestone {made[0]}", made[0]
    if made:
        return Status.CONFLICT, f"made more than once: milestones {', '.join(made)}", None
    if new := [id_ for id_ in _twins(change, live) if id_ not in change.twins]:
        return (
            Status.CONFLICT,
            f"read back: milestone {', '.join(new)} is equal and does not carry the change's id: "
            "was it made by this change, or by somebody else?",
            None,
        )
    return Status.APPROVED, "read back: it was never made", None


def differences(change: Change, image: Image) -> str:
    """Where a milestone is not as asked, in words."""
    return "; ".join(
        f"{name} is {image.get(name)!r}, asked was {value!r}"
        for name, value in change.after.items()
        if image.get(name) != value
    )


def _as_asked(change: Change, image: Image) -> bool:
    return not differences(change, image)


def _edits(change: Change, image: Image) -> str:
    return "; ".join(
        f"{name} was {value!r}, is {image.get(name)!r}"
        for name, value in change.before.items()
        if image.get(name) != value
    )


def _twins(change: Change, live: Live) -> list[str]:
    wanted = twin(change.after)
    return [id_ for id_, seen in live.projects.items() if twin(seen.image) == wanted]
