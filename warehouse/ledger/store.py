"""The ledger of changes: who asked, who approved, what was sent, what came back.

SQLite or Postgres. A transition is a compare-and-set and an event in one transaction; events are
protected from update and delete by the database itself.
"""

from __future__ import annotations

import json
import secrets
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from warehouse.errors import ChangeRefused

from . import schema
from .change import OPEN, TRANSITIONS, Change, Draft, Event, Status
from .engine import create_ledger_engine, ledger_failure
from .rows import change_from_row, draft_values, event_from_row


class Ledger:
    """An open ledger.

    Args:
        connection: One connection for as long as it is open.
        now: Gives the time, UTC.
    """

    def __init__(self, connection: Connection, now: Callable[[], datetime]) -> None:
        self.connection = connection
        self.now = now
        self.is_postgres = connection.dialect.name == "postgresql"

    def propose(self, drafts: Sequence[Draft]) -> list[str]:
        """Write drafts as proposed changes, all or none; gives their ids.

        Raises:
            ChangeRefused: If a milestone has an open change, or a create is one that exists.
        """
        ids = []
        try:
            with self.connection.begin():
                for draft in drafts:
                    ids.append(self._insert(draft))
        except IntegrityError:
            raise ChangeRefused(self._refusal_of(drafts)) from None
        return ids

    def _insert(self, draft: Draft) -> str:
        values = draft_values(draft) | {
            "change_id": secrets.token_hex(8),
            "status": Status.PROPOSED,
            "proposed_at": self.now().isoformat(),
            "attempts": 0,
            "twins": "[]",
            "outcome": "",
        }
        change_id = str(values["change_id"])
        self.connection.execute(schema.changes.insert().values(values))
        self._add_event(
            change_id, before=None, after=Status.PROPOSED, who=draft.proposer, what=draft.reason
        )
        return change_id

    def _refusal_of(self, drafts: Sequence[Draft]) -> str:
        """Why drafts cannot be proposed beside what is there."""
        milestone_ids = [draft.milestone_id for draft in drafts if draft.milestone_id]
        for id_ in milestone_ids:
            if milestone_ids.count(id_) > 1:
                return f"milestone {id_} is asked for twice: at most one open change each"
        for change in self.changes(OPEN):
            if change.milestone_id in milestone_ids:
                return (
                    f"milestone {change.milestone_id} has an open change already "
                    f"({change.change_id}, {change.status}): decide on it, or withdraw it, first"
                )
        return (
            "a create with the same project, title, amount and date is open or was applied: "
            "--allow-duplicate if it is meant"
        )

    def changes(self, statuses: frozenset[Status] | None = None) -> list[Change]:
        """Changes in these statuses, or all, the oldest first."""
        query = sa.select(schema.changes).order_by(schema.changes.c.number)
        if statuses is not None:
            query = query.where(schema.changes.c.status.in_(sorted(statuses)))
        with self.connection.begin():
            return [change_from_row(row) for row in self.connection.execute(query).mappings()]

    def change(self, change_id: str) -> Change:
        """One change.

        Raises:
            ChangeRefused: If there is none of this id.
        """
        query = sa.select(schema.changes).where(schema.changes.c.change_id == change_id)
        with self.connection.begin():
            row = self.connection.execute(query).mappings().first()
        if row is None:
            raise ChangeRefused(f"there is no change {change_id}: see `milestones changes --all`")
        return change_from_row(row)

    def events(self, change_id: str | None = None) -> list[Event]:
        """What happened to a change, or to all, in order."""
        query = sa.select(schema.events).order_by(schema.events.c.number)
        if change_id is not None:
            query = query.where(schema.events.c.change_id == change_id)
        with self.connection.begin():
            return [event_from_row(row) for row in self.connection.execute(query).mappings()]

    def approve(self, change: Change, who: str) -> Change:
        """Approve what was shown.

        Raises:
            ChangeRefused: If who approves also proposed, or the change is not proposed any more.
        """
        if _normalized_name(who) == _normalized_name(change.proposer):
            raise ChangeRefused(
                f"{who} proposed {change.change_id}, so another person must approve it (--as NAME)"
            )
        return self.transition(
            change, Status.APPROVED, who=who, what=f"approved {change.digest}",
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
        """Move a change to another status, if it is still in the one it was read in.

        Args:
            change: As it was read.
            status: The new one.
            who: Who does it.
            what: Why, or what happened, in words.
            request_id: Kantata's name for the request.
            columns: Values of further columns.

        Raises:
            ChangeRefused: If it cannot go there, or is somewhere else by now.
        """
        if status not in TRANSITIONS[change.status]:
            raise ChangeRefused(f"change {change.change_id} is {change.status}, so not {status}")
        values: dict[str, object] = {"status": status, "outcome": what, **columns}
        with self.connection.begin():
            if not self._update(change.change_id, change.status, values):
                raise ChangeRefused(
                    f"change {change.change_id} is not {change.status} any more: somebody was "
                    "faster, look again"
                )
            self._add_event(
                change.change_id, before=change.status, after=status,
                who=who, what=what, request_id=request_id,
            )  # fmt: skip
            query = sa.select(schema.changes).where(schema.changes.c.change_id == change.change_id)
            return change_from_row(self.connection.execute(query).mappings().one())

    def _update(self, change_id: str, status: Status, values: Mapping[str, object]) -> bool:
        """Write columns of a change, if it has this status; whether it had."""
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
        """Note that a change is about to be sent.

        Args:
            change: As it was read.
            who: Who sends it.
            what: What is sent, in words.
            at: Now, by the clock that will say when it has been left alone for long enough.
            twins: Equal milestones that are there already.
            seen_updated_at: When the milestone was last changed, as Kantata says.

        Raises:
            ChangeRefused: If it is not approved any more.
        """
        return self.transition(
            change, Status.APPLYING, who=who, what=what, attempts=change.attempts + 1,
            sent_at=at.isoformat(), twins=json.dumps(sorted({*change.twins, *twins})),
            seen_updated_at=seen_updated_at,
        )  # fmt: skip

    def correct_sent_at(self, change: Change, at: datetime, *, who: str, what: str) -> Change:
        """Put another time of sending to an unknown change, one that can be true.

        Raises:
            ChangeRefused: If it is not unknown any more.
        """
        with self.connection.begin():
            if not self._update(change.change_id, Status.UNKNOWN, {"sent_at": at.isoformat()}):
                raise ChangeRefused(f"change {change.change_id} is not unknown any more")
            self._add_remark(change, who, what)
        return self.change(change.change_id)

    def add_remark(self, change: Change, *, who: str, what: str) -> None:
        """Note something about a change that stays as it is."""
        with self.connection.begin():
            self._add_remark(change, who, what)

    def _add_remark(self, change: Change, who: str, what: str) -> None:
        self._add_event(
            change.change_id, before=change.status, after=change.status, who=who, what=what
        )

    def _add_event(
        self,
        change_id: str,
        *,
        before: Status | None,
        after: Status,
        who: str,
        what: str,
        request_id: str | None = None,
    ) -> None:
        values: dict[str, object] = {
            "change_id": change_id,
            "at": self.now().isoformat(),
            "status_before": before,
            "status_after": after,
            "who": who,
            "what": what,
            "request_id": request_id,
        }
        if self.is_postgres:
            values["db_user"] = sa.text("session_user")
        self.connection.execute(schema.events.insert().values(values))


@contextmanager
def connect_ledger(url: str, now: Callable[[], datetime]) -> Iterator[Ledger]:
    """Open the ledger, and make it if there is none.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user:password@host:5432/database``.
        now: Gives the time, UTC.

    Raises:
        WarehouseMisconfigured: If the address is none, or a later release wrote the ledger.
        WarehouseUnwritable: If its file cannot be written.
        WarehouseUnavailable: If its database does not answer.
    """
    engine = create_ledger_engine(url)
    try:
        with ExitStack() as stack:
            stack.callback(engine.dispose)
            connection = stack.enter_context(engine.connect())
            schema.prepare_ledger(connection)
            yield Ledger(connection, now)
    except DBAPIError as error:
        raise ledger_failure(error, engine.url) from error


def _normalized_name(who: str) -> str:
    """What makes two spellings the same person: é as one sign, or as e and an accent, too."""
    return " ".join(unicodedata.normalize("NFKC", who).split()).casefold()
