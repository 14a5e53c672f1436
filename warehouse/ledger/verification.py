"""Verifying a ledger: what somebody altered in it behind its back."""

from __future__ import annotations

from collections.abc import Sequence

from warehouse.errors import LedgerDamaged

from .chain import RecordedEvent, chain_problems
from .change import OPEN, Change, Status
from .closes import close_problems
from .engine import RESTORE_LEDGER
from .store import Ledger
from .triggers import missing_triggers
from .trust import why_altered, why_untrusted


def check_ledger(ledger: Ledger) -> list[str]:
    """Check that the ledger can be read and its events are those recorded, for a push.

    Returns:
        A line for each finished change whose row somebody altered: nothing of it is sent again.

    Raises:
        LedgerDamaged: If not.
    """
    changes, history = ledger.changes(), ledger.history()
    if problems := _chain_problems(ledger, history):
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise LedgerDamaged(
            f"the ledger was altered: {problems[0]}{more}. Nothing was sent. See all: "
            f"milestones audit --verify. {RESTORE_LEDGER}"
        )
    # An open one becomes a conflict when it is its turn; one that became so is known.
    return _altered(changes, history, skipped=OPEN | {Status.CONFLICT})


def untrusted_changes(ledger: Ledger, changes: Sequence[Change]) -> dict[str, str]:
    """Return why changes in the ledger must not be sent, by id; those that may are left out.

    Args:
        ledger: The ledger of changes.
        changes: The changes, as they were just read from it.
    """
    reasons = {c.change_id: why_untrusted(c, ledger.history(c.change_id)) for c in changes}
    return {change_id: why for change_id, why in reasons.items() if why}


def ledger_problems(ledger: Ledger, *, settled_too: bool = True) -> list[str]:
    """Return what somebody altered in the ledger, a line each; empty if nothing.

    Args:
        ledger: The ledger of changes.
        settled_too: Whether to name altered changes that a push has found, and made conflicts.
    """
    history = ledger.history()
    with ledger.reading():
        missing = missing_triggers(ledger.connection)
    return [
        *_chain_problems(ledger, history),
        *(f"the trigger {name} is missing or off" for name in missing),
        *_altered(
            ledger.changes(),
            history,
            skipped=frozenset() if settled_too else frozenset({Status.CONFLICT}),
        ),
        *close_problems(ledger),
    ]


def _altered(
    changes: Sequence[Change], history: Sequence[RecordedEvent], *, skipped: frozenset[Status]
) -> list[str]:
    """Return a line for each change of the ledger, but of those statuses, that was altered."""
    by_change: dict[str, list[RecordedEvent]] = {}
    for recorded in history:
        by_change.setdefault(recorded.event.change_id, []).append(recorded)
    return [
        f"change {change.change_id}: {why}"
        for change in changes
        if change.status not in skipped
        and (why := why_altered(change, by_change.get(change.change_id, [])))
    ]


def _chain_problems(ledger: Ledger, history: Sequence[RecordedEvent]) -> list[str]:
    """Return what is wrong with the chain of the ledger's events, a line each."""
    return chain_problems([event for event, _ in history], ledger.links())
