"""What the ledger holds already of what is asked, and what was asked before in the same go."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from warehouse.errors import ChangeRefused
from warehouse.ledger.change import OPEN, Action, Change, Draft, Image, Value

from .requests import ChangeRequest


class LedgerLookup:
    """Open and applied changes, and the lines of one go.

    Args:
        changes: The changes, the oldest first.
    """

    def __init__(self, changes: Sequence[Change]) -> None:
        self._alike: dict[tuple[Action, str], list[Change]] = {}
        for change in changes:
            self._alike.setdefault(
                _key(change.action, change.milestone_id, change.after), []
            ).append(change)
        self._open = {c.milestone_id: c for c in changes if c.status in OPEN and c.milestone_id}
        self._creates = {
            c.twin_key: f"change {c.change_id} ({c.status})" for c in changes if c.twin_key
        }
        self._asked: dict[str, str] = {}

    def claim_milestone(self, ask: ChangeRequest) -> None:
        """Take a line whose milestone no other line is about.

        Raises:
            ChangeRefused: If one is.
        """
        if ask.milestone_id is None:
            return
        if ask.milestone_id in self._asked:
            raise ChangeRefused(
                f"milestone {ask.milestone_id} is in {self._asked[ask.milestone_id]} already: "
                "at most one change of it at a time"
            )
        self._asked[ask.milestone_id] = ask.where

    def previous_change(self, ask: ChangeRequest, wanted: Mapping[str, Value]) -> Change | None:
        """The change that this very line led to when it was given before.

        What was like that already when it was given then is not among the change's fields.
        """
        alike = self._alike.get(_key(ask.action, ask.milestone_id, wanted), [])
        found = [
            change
            for change in alike
            if ask.action is not Action.UPDATE
            or (
                all(change.after.get(n, change.before.get(n)) == v for n, v in wanted.items())
                and change.after.keys() <= wanted.keys()
            )
        ]
        return next((c for c in found if c.status in OPEN), found[-1] if found else None)

    def check_conflicts(self, draft: Draft, where: str) -> None:
        """Take a draft that can be proposed beside all others.

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
