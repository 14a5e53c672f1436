"""A dry run of a push: the plan that it would execute. Nothing is written, not even the ledger."""

from __future__ import annotations

from warehouse.ledger.change import Change, Status

from .plan import Deferred, Step, limit_steps
from .push_session import CHANGES_PER_READ, MAY_HAVE_BEEN_SENT, PushSession, chunks


def dry_run(session: PushSession, max_changes: int) -> list[Step]:
    """Make a dry run: return the plan that a push would execute now.

    Raises:
        KantataError: If the account cannot be read.
        WarehouseMisconfigured: If the ledger belongs to another account.
    """
    session.open(bind=False)
    changes = session.changes(*MAY_HAVE_BEEN_SENT, Status.APPROVED)
    steps = [step for chunk in chunks(changes, CHANGES_PER_READ) for step in _steps(session, chunk)]
    return limit_steps(steps, max_changes)


def _steps(session: PushSession, changes: list[Change]) -> list[Step]:
    """Plan the steps of some changes for a dry run; defer those too early to read back."""
    early = {c.change_id: why for c in changes if (why := session.why_too_early(c))}
    due = [change for change in changes if change.change_id not in early]
    planned = iter(session.plan(due, session.account_state(due)))
    return [
        Deferred(change, early[change.change_id]) if change.change_id in early else next(planned)
        for change in changes
    ]
