"""What the ledger holds of what is requested, and what was requested before in the same file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from warehouse.errors import ChangeRefused
from warehouse.ledger.change import OPEN, Action, Change, Draft, Image, Value

from .requests import ChangeRequest


class LedgerLookup:
    """Open and applied changes, and the change requests that were checked before.

    Args:
        changes: The changes, the oldest first.
    """

    def __init__(self, changes: Sequence[Change]) -> None:
        self._equal: dict[tuple[Action, str], list[Change]] = {}
        for change in changes:
            key = _key(change.action, change.milestone_id, change.after)
            self._equal.setdefault(key, []).append(change)
        self._open = {c.milestone_id: c for c in changes if c.status in OPEN and c.milestone_id}
        self._creates = {
            c.twin_key: f"change {c.change_id} ({c.status})" for c in changes if c.twin_key
        }
        self._requested: dict[str, str] = {}  # where a milestone is requested, by its id

    def claim_milestone(self, request: ChangeRequest) -> None:
        """Take a change request whose milestone no other one is about.

        Raises:
            ChangeRefused: If one is.
        """
        id_ = request.milestone_id
        if id_ is None:
            return
        if id_ in self._requested:
            raise ChangeRefused(
                f"milestone {id_} is in {self._requested[id_]} already: "
                "at most one change of it at a time"
            )
        self._requested[id_] = request.where

    def previous_change(self, request: ChangeRequest, values: Mapping[str, Value]) -> Change | None:
        """The change that this very line led to when it was given before.

        What was like that already when it was given then is not among the change's fields.
        """
        equal = self._equal.get(_key(request.action, request.milestone_id, values), [])
        if request.action is Action.UPDATE:
            equal = [change for change in equal if _sets(change, values)]
        return next((c for c in equal if c.status in OPEN), equal[-1] if equal else None)

    def check_conflicts(self, draft: Draft, where: str) -> None:
        """Take a draft that can be proposed next to all others.

        Raises:
            ChangeRefused: If its milestone has an open change, or it equals another create.
        """
        if (other := self._open.get(draft.milestone_id or "")) is not None:
            raise ChangeRefused(
                f"milestone {draft.milestone_id} has an open change already, {other.change_id} "
                f"({other.status}): decide on it, or withdraw it, first"
            )
        if (key := draft.twin_key) is None:
            return
        if key in self._creates:
            raise ChangeRefused(
                f"{self._creates[key]} is a create of the same project, title, amount and date: "
                "--allow-duplicate if another one is meant"
            )
        self._creates[key] = where


def _key(action: Action, milestone_id: str | None, after: Image) -> tuple[Action, str]:
    if action is not Action.CREATE:
        return action, str(milestone_id)
    return action, json.dumps(dict(after), sort_keys=True, ensure_ascii=False)


def _sets(change: Change, values: Mapping[str, Value]) -> bool:
    """Whether an update sets these values and no others, or its milestone had them before."""
    return change.after.keys() <= values.keys() and all(
        change.after.get(name, change.before.get(name)) == value for name, value in values.items()
    )
