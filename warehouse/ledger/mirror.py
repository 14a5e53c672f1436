"""The copy of the ledger in the warehouse, for audits in SQL."""

from __future__ import annotations

import json
from collections.abc import Sequence

from warehouse.database import DATASET, Database

from .change import Change, Event


def copy_ledger(database: Database, changes: Sequence[Change], events: Sequence[Event]) -> None:
    """Mirror the ledger in the warehouse: replace its copy there, in one transaction.

    Args:
        database: A connection to the warehouse; its lock must be held.
        changes: All changes of the ledger.
        events: All events of the ledger.
    """
    copies = {
        "change_requests": [_change_row(change) for change in changes],
        "change_events": [_event_row(event) for event in events],
    }
    with database.transaction():
        for table, rows in copies.items():
            database.execute(f"delete from {DATASET}.{table}")
            database.insert(f"{DATASET}.{table}", rows)


def is_current(database: Database, events: Sequence[Event]) -> bool:
    """Return whether the mirror has exactly these events of the ledger; every change adds one.

    Args:
        database: A connection to the warehouse.
        events: All events of the ledger, in order.
    """
    ((count, last_number, last_time),) = database.rows(
        f"select count(*), max(event_number), max(happened_at) from {DATASET}.change_events"
    )
    return bool(
        count == len(events)
        and last_number == (events[-1].number if events else None)
        and last_time == max((event.at for event in events), default=None)
    )


def _change_row(change: Change) -> tuple[object, ...]:
    """Return the row of a change in the warehouse's mirror of the ledger."""
    return (
        change.change_id, change.status, change.action, change.milestone_id, change.workspace_id,
        change.currency, json.dumps(dict(change.before), ensure_ascii=False),
        json.dumps(dict(change.after), ensure_ascii=False), change.reason, change.proposer,
        change.proposed_at, change.approver, change.approved_digest, change.attempts,
        change.sent_at, change.outcome,
    )  # fmt: skip


def _event_row(event: Event) -> tuple[object, ...]:
    """Return the row of an event in the warehouse's mirror of the ledger."""
    return (
        event.number, event.change_id, event.at, event.before, event.after, event.who, event.what,
        event.request_id, event.db_user,
    )  # fmt: skip
