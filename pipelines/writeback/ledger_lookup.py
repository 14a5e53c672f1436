"""Lookup of earlier changes: those in the ledger, and those requested before in the same file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from warehouse.errors import ChangeRefused
from warehouse.ledger.change import OPEN, Action, Change, Draft, Image, Value

from .requests import ChangeRequest


class LedgerLookup:
    """Open and applied changes, and the change requests that were checked so far.

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
            c.equal_key: f"change {c.change_id} ({c.status})" for c in changes if c.equal_key
        }
        self._requested: dict[str, str] = {}  # the place of a change request, by its milestone's id

    def claim_milestone(self, request: ChangeRequest) -> None:
        """Record in the lookup the milestone of a change request; refuse it if another names it.

        Raises:
            ChangeRefused: If another change request names the same milestone.
        """
        id_ = request.milestone_id
        if id_ is None:
            return
        if id_ in self._requested:
            raise ChangeRefused(
                f"milestone {id_} is already in {self._requested[id_]}: request one change of it "
                "at a time"
            )
        self._requested[id_] = request.where

    def previous_change(self, request: ChangeRequest, values: Mapping[str, Value]) -> Change | None:
        """Return the change in the ledger that the same line led to before; None without one.

        A value that the milestone already had then is not among the change's fields.
        """
        equal = self._equal.get(_key(request.action, request.milestone_id, values), [])
        if request.action is Action.UPDATE:
            equal = [change for change in equal if _sets(change, values)]
        return next((c for c in equal if c.status in OPEN), equal[-1] if equal else None)

    def check_conflicts(self, draft: Draft, where: str) -> None:
        """Record a draft; refuse it if it conflicts with a change in the ledger or the file.

        Raises:
            ChangeRefused: If its milestone has an open change, or it equals another create.
        """
        if (other := self._open.get(draft.milestone_id or "")) is not None:
            raise ChangeRefused(
                f"milestone {draft.milestone_id} already has an open change, {other.change_id} "
                f"({other.status}). Finish it, or withdraw it: milestones withdraw "
                f"{other.change_id}"
            )
        if (key := draft.twin_key) is None:
            return
        if key in self._creates:
            raise ChangeRefused(
                f"{self._creates[key]} creates a milestone with the same project, title, amount "
                "and date. To create another one, add --allow-duplicate"
            )
        self._creates[key] = where


def _key(action: Action, milestone_id: str | None, after: Image) -> tuple[Action, str]:
    """Return the key by which the ledger lookup finds changes that may equal a request."""
    if action is not Action.CREATE:
        return action, str(milestone_id)
    return action, json.dumps(dict(after), sort_keys=True, ensure_ascii=False)


def _sets(change: Change, values: Mapping[str, Value]) -> bool:
    """Return whether an update in the ledger was requested with these values and no others."""
    return change.after.keys() <= values.keys() and all(
        change.after.get(name, change.before.get(name)) == value for name, value in values.items()
    )
