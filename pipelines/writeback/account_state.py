"""The state of the account as it was just read: the part that some changes need.

Pure: plain values only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from warehouse.ledger.change import Action, Change, Image, Units, Value, duplicate_fields


@dataclass(frozen=True)
class MilestoneState:
    """The state of a milestone as it was just read.

    Args:
        image: Its fields.
        invoiced: The reason why it counts as invoiced; empty if it does not.
        updated_at: When it was last changed, as the text that Kantata sent.
        created_at: When it was created, as the text that Kantata sent.
    """

    image: Image
    invoiced: str = ""
    updated_at: str | None = None
    created_at: str | None = None


@dataclass(frozen=True, kw_only=True)
class AccountState:
    """The state of the account as it was just read: the part that some changes need.

    Args:
        milestones: The milestones of updates and deletes, by id.
        deleted: The ids of milestones that are certainly deleted.
        unreadable: The reason why a milestone cannot be read, by its id.
        unreadable_projects: The reason why a project of a create cannot be read, by its id.
        created: The ids of the milestones that carry a change's id, by the change's id.
        project_milestones: All milestones of the projects of creates, by id.
        project_currencies: The currencies of the projects of creates, by the project's id.
        units: The value of a minor unit by currency, if known; used only in messages.
        read_at: When reading began, in seconds of the monotonic clock; later edits may be missing.
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
        """Return why the account's state does not show what a change needs; empty if it does."""
        if change.action is Action.CREATE:
            return self.unreadable_projects.get(change.workspace_id, "")
        return self.unreadable.get(str(change.milestone_id), "")

    def created_by(self, change: Change) -> list[str]:
        """Return the ids of the milestones in the account that carry the id of a change."""
        return sorted(self.created.get(change.change_id, ()))

    def created_by_others(self, change: Change) -> frozenset[str]:
        """Return the ids of the account's milestones that carry the id of another change."""
        others = (ids for change_id, ids in self.created.items() if change_id != change.change_id)
        return frozenset().union(*others)

    def duplicates_of(self, change: Change) -> list[str]:
        """Return the ids of the account's milestones that equal the one a change creates."""
        wanted = duplicate_fields(change.after)
        return [
            id_
            for id_, state in self.project_milestones.items()
            if duplicate_fields(state.image) == wanted
        ]
