"""The mapping between a ledger's rows and its drafts, changes and events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime

from sqlalchemy import RowMapping

from .chain import Link
from .change import Action, Change, Draft, Event, Status
from .engine import ledger_damaged


def draft_values(draft: Draft) -> dict[str, object]:
    """Return the column values of a draft for its row in the ledger."""
    return {
        "action": draft.action,
        "milestone_id": draft.milestone_id,
        "workspace_id": draft.workspace_id,
        "currency": draft.currency,
        "fields_after": json.dumps(dict(draft.after), ensure_ascii=False),
        "fields_before": json.dumps(dict(draft.before), ensure_ascii=False),
        "reason": draft.reason,
        "proposer": draft.proposer,
        "duplicate": int(draft.duplicate),
        "twin_key": draft.twin_key,
    }


def change_values(number: int, change: Change) -> dict[str, object]:
    """Return the column values of a change for its row in the ledger, with the row's number."""
    return draft_values(change) | {
        "number": number,
        "change_id": change.change_id,
        "status": change.status,
        "proposed_at": change.proposed_at.isoformat() if change.proposed_at else "",
        "approver": change.approver,
        "approved_digest": change.approved_digest,
        "attempts": change.attempts,
        "sent_at": change.sent_at.isoformat() if change.sent_at else None,
        "twins": json.dumps(list(change.twins)),
        "outcome": change.outcome,
        "seen_updated_at": change.seen_updated_at,
        "looked_at": change.looked_at.isoformat() if change.looked_at else None,
        "resends": change.resends,
    }


def event_values(event: Event) -> dict[str, object]:
    """Return the column values of an event for its row in the ledger."""
    return {
        "number": event.number,
        "change_id": event.change_id,
        "at": event.at.isoformat(),
        "status_before": event.before,
        "status_after": event.after,
        "who": event.who,
        "what": event.what,
        "request_id": event.request_id,
        "db_user": event.db_user,
        "identified_by": event.identified_by,
    }


@contextmanager
def _reading_row(kind: str, name: object) -> Iterator[None]:
    """Raise the error for a row of the ledger with values that this program never writes."""
    try:
        yield
    except (ValueError, TypeError, AttributeError) as error:
        raise ledger_damaged(f"its {kind} {name} has an invalid value: {error}") from None


def change_from_row(row: RowMapping) -> Change:
    """Return the change in a row of the ledger.

    Raises:
        LedgerDamaged: If its values are not those of a change.
    """
    with _reading_row("change", row["change_id"]):
        return _change(row)


def _change(row: RowMapping) -> Change:
    """Return the change in a valid row of the ledger."""
    return Change(
        action=Action(row["action"]),
        milestone_id=row["milestone_id"],
        workspace_id=row["workspace_id"],
        currency=row["currency"],
        after=dict(json.loads(row["fields_after"])),
        before=dict(json.loads(row["fields_before"])),
        reason=row["reason"],
        proposer=row["proposer"],
        duplicate=bool(row["duplicate"]),
        change_id=row["change_id"],
        status=Status(row["status"]),
        approved_digest=row["approved_digest"],
        approver=row["approver"],
        attempts=row["attempts"],
        sent_at=datetime.fromisoformat(row["sent_at"]) if row["sent_at"] else None,
        twins=tuple(json.loads(row["twins"])),
        proposed_at=datetime.fromisoformat(row["proposed_at"]),
        outcome=row["outcome"],
        seen_updated_at=row["seen_updated_at"],
        looked_at=datetime.fromisoformat(row["looked_at"]) if row["looked_at"] else None,
        resends=row["resends"],
    )


def event_from_row(row: RowMapping) -> Event:
    """Return the event in a row of the ledger.

    Raises:
        LedgerDamaged: If its values are not those of an event.
    """
    before = row["status_before"]
    with _reading_row("event", row["number"]):
        return Event(
            number=row["number"],
            change_id=row["change_id"],
            at=datetime.fromisoformat(row["at"]),
            before=Status(before) if before else None,
            after=Status(row["status_after"]),
            who=row["who"],
            what=row["what"],
            request_id=row["request_id"],
            db_user=row["db_user"],
            identified_by=row.get("identified_by"),  # not while an older ledger is migrated
        )


def link_values(link: Link) -> dict[str, object]:
    """Return the column values of a link for its row in the ledger."""
    return {"number": link.number, "draft_digest": link.draft_digest, "hash": link.hash}


def link_from_row(row: RowMapping) -> Link:
    """Return the link of the chain in a row of the ledger."""
    return Link(number=row["number"], draft_digest=row["draft_digest"], hash=row["hash"])
