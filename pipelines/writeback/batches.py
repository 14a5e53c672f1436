"""Which creates share a request: pure.

A create that is sent again after an unknown outcome is sent alone, so that its result is clear.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import takewhile

from warehouse.ledger.change import Action, Change

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
    sharing = takewhile(
        lambda step: isinstance(step, Write) and _may_share(step.change, batch_creates),
        steps[:batch_creates],
    )
    return list(sharing) or list(steps[:1])


def _may_share(change: Change, batch_creates: int) -> bool:
    """Return whether a change may be sent in a batch with others."""
    return batch_creates > 1 and change.action is Action.CREATE and not change.resends
