"""Which creates share a request, and which must wait for an equal one: pure.

A create that is sent again after an unknown outcome is sent alone, so that its result is clear.
"""

from __future__ import annotations

from collections.abc import Sequence

from warehouse.ledger.change import Action, Change, duplicate_fields

from .plan import Step, Write
from .push_session import CHANGES_PER_READ


def next_changes(approved: Sequence[Change], *, most: int, batch_creates: int) -> list[Change]:
    """Return the changes that a push plans together next, the creates of batches first.

    Args:
        approved: The approved changes, the oldest first; those returned are at its front.
        most: The most changes.
        batch_creates: The most creates that share a request; 1 for no batches.
    """
    rooms = {
        True: batch_creates * max(1, CHANGES_PER_READ // batch_creates),
        False: CHANGES_PER_READ,
    }
    chosen: list[Change] = []
    for change in approved[:most]:
        shares = _may_share(change, batch_creates)
        if not rooms[shares]:
            break
        rooms[shares] -= 1
        chosen.append(change)
    return sorted(chosen, key=lambda change: not _may_share(change, batch_creates))


def first_batch(steps: Sequence[Step], batch_creates: int) -> list[Step]:
    """Return the first of a push's steps, with those after it that share its request."""
    sharing: list[Step] = []
    for step in steps[:batch_creates]:
        may_share = isinstance(step, Write) and _may_share(step.change, batch_creates)
        if not may_share or make_equal([each.change for each in sharing], [step.change]):
            break
        sharing.append(step)
    return sharing or list(steps[:1])


def make_equal(changes: Sequence[Change], others: Sequence[Change]) -> bool:
    """Return whether changes of a push lead to a milestone that others of it create, too.

    Then the account must be read again in between: one of them may not be wanted any more.
    """
    results = [
        duplicate_fields({**change.before, **change.after})
        for change in changes
        if change.action is not Action.DELETE
    ]
    return any(
        duplicate_fields(other.after) in results
        for other in others
        if other.action is Action.CREATE
    )


def _may_share(change: Change, batch_creates: int) -> bool:
    """Return whether a change may be sent in a batch with others."""
    return batch_creates > 1 and change.action is Action.CREATE and not change.resends
