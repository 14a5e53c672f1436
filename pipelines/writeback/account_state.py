"""The account as it was just read, as far as some changes need it. Pure: plain values only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from warehouse.ledger.change import Action, Change, Image, Units, Value, duplicate_fields


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


@dataclass(frozen=True, kw_only=True)
class AccountState:
    """The account as it was just read, as far as some changes need it.

    Args:
        milestones: By id.
        deleted: Ids of milestones that are deleted, for certain.
        unreadable: Why milestones could not be judged, by their id.
        unreadable_projects: Why nothing can be created in projects, by the project's id.
        created: Ids of the milestones that carry a change's id, by that.
        project_milestones: Milestones of the projects of creates, by id.
        project_currencies: Of the projects of creates, by the project's id.
        units: What a minor unit is worth, as far as that is known; only for words.
        read_at: Since when anything here may have changed, in seconds of the monotonic clock.
    """

    milestones: Mapping[str, MilestoneState] = field(default_factory=dict)
    deleted: frozenset[str] = frozenset()
    unreadable: Mapping[str, str] = field(default_factory=dict)
    unreadable_projects: Mapping[str, str] = field(default_factory=dict)
    created: Mapping[str, frozenset[str]] = field(default_factory=dict)
    project_milestones: Mapping[str, MilestoneState] = field(default_factory=dict)
    project_currencies: Mapping[str, Value] = field(default_factory=dict)
    units: Units = field(default_factory=dict)
    read_at: float = 0.0

    def why_unknown(self, change: Change) -> str:
        """Why nothing can be said about a change; empty if something can."""
        if change.action is Action.CREATE:
            return self.unreadable_projects.get(change.workspace_id, "")
        return self.unreadable.get(str(change.milestone_id), "")

    def created_by(self, change: Change) -> list[str]:
        """The ids of milestones that carry a change's id."""
        return sorted(self.created.get(change.change_id, ()))

    def duplicates_of(self, change: Change) -> list[str]:
        """The ids of milestones that look the same as the one a change creates."""
        wanted = duplicate_fields(change.after)
        return [
            id_
            for id_, state in self.project_milestones.items()
            if duplicate_fields(state.image) == wanted
        ]
