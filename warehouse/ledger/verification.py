"""Verifying a ledger: what somebody altered in it behind its back."""

from __future__ import annotations

from collections.abc import Sequence

from warehouse.errors import LedgerDamaged

from .chain import RecordedEvent, chain_problems
from .change import Change, Status
from .engine import RESTORE_LEDGER
from .store import Ledger
from .triggers import missing_triggers
from .trust import why_altered, why_untrusted


def check_ledger(ledger: Ledger) -> None:
    """Check that the ledger can be read and its events are those recorded, for a push.

    Raises:
        LedgerDamaged: If not.
    """
    ledger.changes()
    if problems := _chain_problems(ledger, ledger.history()):
        more = f", and {len(problems) - 1} more" if len(problems) > 1 else ""
        raise LedgerDamaged(
            f"the ledger was altered: {problems[0]}{more}. Nothing was sent. See all: "
            f"milestones audit --verify. {RESTORE_LEDGER}"
        )


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
    by_change: dict[str, list[RecordedEvent]] = {}
    for recorded in history:
        by_change.setdefault(recorded.event.change_id, []).append(recorded)
    with ledger.reading():
        missing = missing_triggers(ledger.connection)
    return [
        *_chain_problems(ledger, history),
        *(f"the trigger {name} is missing or off" for name in missing),
        *(
            f"change {change.change_id}: {why}"
            for change in ledger.changes()
            if (settled_too or change.status is not Status.CONFLICT)
            and (why := why_altered(change, by_change.get(change.change_id, [])))
        ),
    ]


def _chain_problems(ledger: Ledger, history: Sequence[RecordedEvent]) -> list[str]:
    """Return what is wrong with the chain of the ledger's events, a line each."""
    return chain_problems([event for event, _ in history], ledger.links())
