"""The copy of the ledger in the warehouse: for audits in SQL, and to restore a lost ledger."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Protocol

from warehouse.database import DATASET, Database
from warehouse.raw.period_closes import CloseKey, copied_keys

from . import close_mirror
from .chain import Link
from .change import Action, Change, Event, Status
from .closes import close_keys
from .period import PeriodClose
from .store import Ledger

_CHANGE_COLUMNS = (
    "change_id", "status", "action", "milestone_id", "workspace_id", "currency", "fields_before",
    "fields_after", "reason", "proposer", "proposed_at", "approver", "approved_digest", "attempts",
    "sent_at", "outcome", "duplicate", "twins", "seen_updated_at", "looked_at", "resends",
)  # fmt: skip
_EVENT_COLUMNS = (
    "event_number", "change_id", "happened_at", "status_before", "status_after", "who", "what",
    "request_id", "db_user", "draft_digest", "chain_hash", "identified_by",
)  # fmt: skip
_EVENTS = f"{DATASET}.change_events"
_HAS_EVENTS = (
    "select count(*) from information_schema.tables "
    f"where table_schema = '{DATASET}' and table_name = 'change_events'"
)


class Reader(Protocol):
    """A connection to a warehouse, to read the ledger's copy there."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""

    def records(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query as dictionaries, by column name."""


@dataclass(frozen=True)
class CopiedEvent:
    """An event in the copy of the ledger.

    Args:
        event: The event.
        link: Its link in the chain; None if it has none.
    """

    event: Event
    link: Link | None


@dataclass(frozen=True)
class LedgerCopy:
    """The copy of the ledger in the warehouse.

    Args:
        changes: All changes, the oldest first.
        events: All events, in order.
        closes: All closed months, in order.
    """

    changes: Sequence[Change]
    events: Sequence[CopiedEvent]
    closes: Sequence[PeriodClose] = ()


@dataclass(frozen=True)
class CopyEnd:
    """The end of the ledger's copy in the warehouse, to see whether a ledger has all of it.

    Args:
        event: The last event; None if there is none.
        closes: What identifies each closed month.
    """

    event: CopiedEvent | None = None
    closes: Sequence[CloseKey] = ()

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever copied."""
        return self.event is None and not self.closes


def unread_milestones(database: Database, ledger: Ledger) -> frozenset[str]:
    """Return the milestones whose applied changes are not in the mirror yet.

    The ledger is copied after they were read back: a push that was killed before that left them.
    """
    sql = f"select change_id from {DATASET}.change_requests where status = %s"
    copied = {id_ for (id_,) in database.rows(sql, Status.APPLIED.value)}
    return frozenset(
        change.milestone_id
        for change in ledger.changes(frozenset({Status.APPLIED}))
        if change.milestone_id and change.change_id not in copied
    )


def copy_ledger(database: Database, ledger: Ledger) -> None:
    """Mirror the ledger in the warehouse: replace its copy there, in one transaction.

    Args:
        database: A connection to the warehouse; its lock must be held.
        ledger: The ledger.
    """
    with ledger.reading():
        changes, history, links = ledger.changes(), ledger.history(), ledger.links()
    hashes = {link.number: link.hash for link in links}
    copies = {
        f"change_requests ({', '.join(_CHANGE_COLUMNS)})": [_change_row(c) for c in changes],
        f"change_events ({', '.join(_EVENT_COLUMNS)})": [
            _event_row(event, digest, hashes.get(event.number)) for event, digest in history
        ],
    }
    with database.transaction():
        for table, rows in copies.items():
            database.execute(f"delete from {DATASET}.{table.partition(' ')[0]}")
            database.insert(f"{DATASET}.{table}", rows)
    close_mirror.copy_closes(database, ledger, close_keys(ledger))


def is_current(database: Database, ledger: Ledger) -> bool:
    """Return whether the mirror has exactly the events of the ledger; every change adds one.

    Args:
        database: A connection to the warehouse.
        ledger: The ledger.
    """
    ((count,),) = database.rows(f"select count(*) from {_EVENTS}")
    last, links = last_copied_event(database), ledger.links()
    return count == len(ledger.events()) and (last and last.link) == (links[-1] if links else None)


def copy_end(warehouse: Reader) -> CopyEnd:
    """Return the end of the ledger's copy in the warehouse; an empty one if there is no copy."""
    return CopyEnd(last_copied_event(warehouse), copied_keys(warehouse))


def last_copied_event(warehouse: Reader) -> CopiedEvent | None:
    """Return the last event in the warehouse's copy of the ledger; None if there is none."""
    if not warehouse.rows(_HAS_EVENTS)[0][0]:
        return None
    last = warehouse.records(f"select * from {_EVENTS} order by event_number desc limit 1")
    return _copied_event(last[0]) if last else None


def read_copy(warehouse: Reader) -> LedgerCopy:
    """Read the whole copy of the ledger from the warehouse."""
    closes = close_mirror.read_copied_closes(warehouse)
    if not warehouse.rows(_HAS_EVENTS)[0][0]:
        return LedgerCopy(changes=[], events=[], closes=closes)
    events = warehouse.records(f"select * from {_EVENTS} order by event_number")
    changes = {
        str(row["change_id"]): row
        for row in warehouse.records(f"select * from {DATASET}.change_requests")
    }
    in_order = dict.fromkeys(str(row["change_id"]) for row in events)
    return LedgerCopy(
        changes=[_copied_change(changes[id_]) for id_ in in_order if id_ in changes],
        events=[_copied_event(row) for row in events],
        closes=closes,
    )


def _change_row(change: Change) -> tuple[object, ...]:
    """Return the row of a change in the warehouse's mirror of the ledger."""
    return (
        change.change_id, change.status, change.action, change.milestone_id, change.workspace_id,
        change.currency, json.dumps(dict(change.before), ensure_ascii=False),
        json.dumps(dict(change.after), ensure_ascii=False), change.reason, change.proposer,
        change.proposed_at, change.approver, change.approved_digest, change.attempts,
        change.sent_at, change.outcome, change.duplicate, json.dumps(list(change.twins)),
        change.seen_updated_at, change.looked_at, change.resends,
    )  # fmt: skip


def _event_row(event: Event, digest: str | None, link: str | None) -> tuple[object, ...]:
    """Return the row of an event in the warehouse's mirror of the ledger."""
    return (
        event.number, event.change_id, event.at, event.before, event.after, event.who, event.what,
        event.request_id, event.db_user, digest, link, event.identified_by,
    )  # fmt: skip


def _copied_change(row: Mapping[str, Any]) -> Change:
    """Return the change in a row of the mirror; the copy of an older release lacks some columns."""
    return Change(
        action=Action(row["action"]),
        milestone_id=row["milestone_id"],
        workspace_id=row["workspace_id"],
        currency=row["currency"],
        after=json.loads(row["fields_after"]),
        before=json.loads(row["fields_before"]),
        reason=row["reason"],
        proposer=row["proposer"],
        duplicate=bool(row.get("duplicate")),
        change_id=row["change_id"],
        status=Status(row["status"]),
        approved_digest=row["approved_digest"],
        approver=row["approver"],
        attempts=row["attempts"],
        sent_at=_utc(row["sent_at"]),
        twins=tuple(json.loads(row.get("twins") or "[]")),
        proposed_at=_utc(row["proposed_at"]),
        outcome=row["outcome"],
        seen_updated_at=row.get("seen_updated_at"),
        looked_at=_utc(row.get("looked_at")),
        resends=row.get("resends") or 0,
    )


def _copied_event(row: Mapping[str, Any]) -> CopiedEvent:
    """Return the event in a row of the mirror, with its link if the copy has it."""
    before, number, link = row["status_before"], row["event_number"], row.get("chain_hash")
    event = Event(
        number=number,
        change_id=row["change_id"],
        at=row["happened_at"].astimezone(UTC),
        before=Status(before) if before else None,
        after=Status(row["status_after"]),
        who=row["who"],
        what=row["what"],
        request_id=row["request_id"],
        db_user=row["db_user"],
        identified_by=row.get("identified_by"),
    )
    digest = row.get("draft_digest")
    return CopiedEvent(event, Link(number=number, draft_digest=digest, hash=link) if link else None)


def _utc(moment: datetime | None) -> datetime | None:
    """Return a moment of the mirror in UTC."""
    return None if moment is None else moment.astimezone(UTC)
