"""The ledger of changes: who proposed and approved each, what was sent, and the result.

It is SQLite or Postgres. A transition is a compare-and-set and an event in one transaction; the
database itself refuses to update or delete events.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import IntegrityError

from warehouse.errors import ChangeRefused
from warehouse.server_lock import ServerLock

from . import schema
from .chain import Link, RecordedEvent
from .change import OPEN, TRANSITIONS, Change, Draft, Event, Status
from .event_log import add_event, lock_chain, read_history, read_links
from .rows import change_from_row, draft_values
from .trust import approval_words, is_same_person


class Ledger:
    """An open ledger.

    Args:
        connection: The connection it uses as long as it is open.
        now: Returns the current time, UTC.
    """

    #: The lock of the push in progress; None without one, or if it is a file's.
    push_lock: ServerLock | None = None
    #: How the person who uses it was identified; None while a program does.
    identified_by: str | None = None

    def __init__(self, connection: Connection, now: Callable[[], datetime]) -> None:
        self.connection = connection
        self.now = now
        self.is_postgres = connection.dialect.name == "postgresql"

    @property
    def name(self) -> str:
        """The file or database of the ledger, for messages."""
        return str(self.connection.engine.url.database or "on Postgres")

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Commit all that the block does to the ledger, or nothing; blocks may be nested."""
        if self.connection.in_transaction():
            yield
            return
        with self.connection.begin():
            lock_chain(self.connection)  # first: two transactions could wait for each other
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Read the ledger in the open transaction, or in one of its own."""
        if self.connection.in_transaction():
            yield
            return
        with self.connection.begin():
            yield

    def propose(self, drafts: Sequence[Draft]) -> list[str]:
        """Insert drafts into the ledger as proposed changes, all or none; return their ids.

        Raises:
            ChangeRefused: If a milestone already has an open change, or a create duplicates
                another one.
        """
        ids = []
        try:
            with self.transaction():
                for draft in drafts:
                    ids.append(self._insert(draft))
        except IntegrityError:
            raise ChangeRefused(self._refusal_reason(drafts)) from None
        return ids

    def _insert(self, draft: Draft) -> str:
        """Insert a draft into the ledger as a proposed change, with its event; return its id."""
        values = draft_values(draft) | {
            "change_id": secrets.token_hex(8),
            "status": Status.PROPOSED,
            "proposed_at": self.now().isoformat(),
            "attempts": 0,
            "twins": "[]",
            "outcome": "",
        }
        self.connection.execute(schema.changes.insert().values(values))
        change = self.change(str(values["change_id"]))
        self._add_event(change, before=None, who=draft.proposer, what=draft.reason)
        return change.change_id

    def _refusal_reason(self, drafts: Sequence[Draft]) -> str:
        """Return why drafts conflict with each other or with changes in the ledger."""
        milestone_ids = [draft.milestone_id for draft in drafts if draft.milestone_id]
        for id_ in milestone_ids:
            if milestone_ids.count(id_) > 1:
                return (
                    f"milestone {id_} has two changes in this proposal, but can have only one open "
                    "change: combine them"
                )
        for change in self.changes(OPEN):
            if change.milestone_id in milestone_ids:
                return (
                    f"milestone {change.milestone_id} already has an open change "
                    f"({change.change_id}, {change.status}): finish or withdraw that one first"
                )
        return (
            "a create with the same project, title, amount and date is open or was applied. If a "
            "second milestone is intended, add --allow-duplicate"
        )

    def changes(self, statuses: frozenset[Status] | None = None) -> list[Change]:
        """Return the ledger's changes with one of these statuses, or all, the oldest first."""
        query = sa.select(schema.changes).order_by(schema.changes.c.number)
        if statuses is not None:
            others = sorted(set(Status) - statuses)  # an invalid status must be noticed
            query = query.where(schema.changes.c.status.not_in(others))
        with self.reading():
            return [change_from_row(row) for row in self.connection.execute(query).mappings().all()]

    def change(self, change_id: str) -> Change:
        """Return the change of the ledger with this id.

        Raises:
            ChangeRefused: If there is none.
        """
        query = sa.select(schema.changes).where(schema.changes.c.change_id == change_id)
        with self.reading():
            row = self.connection.execute(query).mappings().first()
        if row is None:
            raise ChangeRefused(
                f"there is no change {change_id}. List all: milestones changes --all"
            )
        return change_from_row(row)

    def events(self, change_id: str | None = None) -> list[Event]:
        """Return the ledger's events of a change, or of all changes, in order."""
        return [event for event, _ in self.history(change_id)]

    def history(self, change_id: str | None = None) -> list[RecordedEvent]:
        """Return the ledger's events of a change, or of all, each with what was proposed then."""
        with self.reading():
            return read_history(self.connection, change_id)

    def links(self) -> list[Link]:
        """Return the links of the chain over the ledger's events, in order."""
        with self.reading():
            return read_links(self.connection)

    def approve(self, change: Change, who: str) -> Change:
        """Approve a change in the ledger exactly as it was shown.

        Raises:
            ChangeRefused: If the approver also proposed it, or its status is not proposed.
        """
        if change.status is not Status.PROPOSED:  # only a push approves what it did not find again
            raise ChangeRefused(
                f"change {change.change_id} cannot become approved: it is {change.status}. "
                f"See its history: milestones audit {change.change_id}"
            )
        if is_same_person(who, change.proposer):
            raise ChangeRefused(
                f"change {change.change_id} was not approved: {who} proposed it, and another "
                "person must approve it (--as NAME)"
            )
        return self.transition(
            change, Status.APPROVED, who=who, what=approval_words(change.digest),
            approver=who, approved_digest=change.digest,
        )  # fmt: skip

    def transition(
        self,
        change: Change,
        status: Status,
        *,
        who: str,
        what: str,
        request_id: str | None = None,
        **columns: object,
    ) -> Change:
        """Set the status of a change in the ledger, if it is still the one that was read.

        Args:
            change: The change as it was read.
            status: The new status.
            who: The person or program that changes it.
            what: Why, or what happened, in words.
            request_id: Kantata's id of the request; None if none was sent.
            columns: Values of further columns of the change.

        Raises:
            ChangeRefused: If the transition is not allowed, or another process was first.
        """
        if status not in TRANSITIONS[change.status]:
            raise ChangeRefused(
                f"change {change.change_id} cannot become {status}: it is {change.status}. "
                f"See its history: milestones audit {change.change_id}"
            )
        values: dict[str, object] = {"status": status, "outcome": what, **columns}
        with self.transaction():
            if not self._update(change.change_id, change.status, values):
                raise ChangeRefused(
                    f"change {change.change_id} cannot become {status}: it is no longer "
                    f"{change.status}. Look at it again: milestones show {change.change_id}"
                )
            changed = self.change(change.change_id)
            self._add_event(
                changed, before=change.status, who=who, what=what, request_id=request_id
            )
            return changed

    def _update(self, change_id: str, status: Status, values: Mapping[str, object]) -> bool:
        """Update a change in the ledger if it has this status; return whether it had."""
        update = schema.changes.update().where(
            schema.changes.c.change_id == change_id, schema.changes.c.status == status
        )
        return self.connection.execute(update.values(values)).rowcount == 1

    def mark_sending(
        self,
        change: Change,
        *,
        who: str,
        what: str,
        at: datetime,
        twins: Sequence[str] = (),
        seen_updated_at: str | None = None,
    ) -> Change:
        """Record in the ledger that a change is about to be sent: set its status to applying.

        Args:
            change: The change as it was read.
            who: The program that sends it.
            what: What is sent, in words.
            at: The current time, by the clock that later decides when to reconcile it.
            twins: Ids of equal milestones that already exist.
            seen_updated_at: Kantata's ``updated_at`` of the milestone.

        Raises:
            ChangeRefused: If its status is no longer approved.
            WarehouseMisconfigured: If the push lost its lock, so that another one may be sending.
        """
        with self.transaction():
            if self.push_lock:
                self.push_lock.ensure_held()
            return self.transition(
                change, Status.APPLYING, who=who, what=what, attempts=change.attempts + 1,
                sent_at=at.isoformat(), twins=json.dumps(sorted({*change.twins, *twins})),
                seen_updated_at=seen_updated_at,
            )  # fmt: skip

    def correct_sent_at(
        self,
        change: Change,
        at: datetime,
        *,
        who: str,
        what: str,
        looked_at: datetime | None,
    ) -> Change:
        """Correct in the ledger when an unknown change was sent, if that time cannot be true.

        Args:
            change: The change as it was read.
            at: When it was sent.
            who: The program that corrects it.
            what: Why, in words.
            looked_at: When it was first looked for; None if it was not.

        Raises:
            ChangeRefused: If its status is no longer unknown.
        """
        values = {
            "sent_at": at.isoformat(),
            "looked_at": looked_at.isoformat() if looked_at else None,
        }
        self._update_unknown(change, values, who=who, what=what)
        return self.change(change.change_id)

    def _update_unknown(
        self, change: Change, values: Mapping[str, object], *, who: str, what: str
    ) -> None:
        """Update columns of an unknown change in the ledger, with a remark."""
        with self.transaction():
            if not self._update(change.change_id, Status.UNKNOWN, values):
                raise ChangeRefused(f"change {change.change_id} is no longer unknown")
            self._add_remark(change, who, what)

    def record_look(self, change: Change, at: datetime, *, who: str, what: str) -> None:
        """Record in the ledger that an unknown create was looked for and not found, the first time.

        Raises:
            ChangeRefused: If its status is no longer unknown.
        """
        self._update_unknown(change, {"looked_at": at.isoformat()}, who=who, what=what)

    def approve_again(self, change: Change, resends: int, *, who: str, what: str) -> Change:
        """Approve an unknown create in the ledger again, since it was not found.

        Args:
            change: The change as it was read.
            resends: How often it has been approved again, this time included.
            who: The program that looked for it.
            what: What it found, in words.

        Raises:
            ChangeRefused: If its status is no longer unknown.
        """
        return self.transition(
            change, Status.APPROVED, who=who, what=what, sent_at=None, looked_at=None,
            resends=resends,
        )  # fmt: skip

    def add_remark(self, change: Change, *, who: str, what: str) -> None:
        """Add an event to a change in the ledger without changing its status."""
        with self.transaction():
            self._add_remark(change, who, what)

    def _add_remark(self, change: Change, who: str, what: str) -> None:
        """Add an event that changes no status to the ledger, in the open transaction."""
        self._add_event(change, before=change.status, who=who, what=what)

    def _add_event(
        self,
        change: Change,
        *,
        before: Status | None,
        who: str,
        what: str,
        request_id: str | None = None,
    ) -> None:
        """Add an event of a change to the ledger, in the open transaction."""
        add_event(
            self.connection, change, at=self.now(), before=before, who=who, what=what,
            request_id=request_id, identified_by=self.identified_by,
        )  # fmt: skip
