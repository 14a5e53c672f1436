"""The ledger of changes: who asked, who approved, what was sent, what came back.

SQLite or Postgres. A transition is a compare-and-set and an event in one transaction; events are
protected from update and delete by the database itself.
"""

from __future__ import annotations

import json
import secrets
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, IntegrityError

from warehouse.errors import ChangeRefused
from warehouse.locks import acquire, file_lock

from . import schema as tables
from .change import OPEN, TRANSITIONS, Action, Change, Draft, Event, Status
from .engine import classify_failure, create_engine
from .schema import LEDGER_VERSION

__all__ = ["LEDGER_VERSION", "AccountBinding", "Ledger", "connect_ledger"]
_AT_ONCE = 500  # rows in one statement


@dataclass(frozen=True)
class AccountBinding:
    """The account whose changes a ledger holds.

    Args:
        address: Of the API.
        account_id: Kantata's; None if it does not say.
    """

    address: str
    account_id: str | None


class Ledger:
    """An open ledger.

    Args:
        connection: One connection for as long as it is open.
        now: Gives the time, UTC.
    """

    def __init__(self, connection: Connection, now: Callable[[], datetime]) -> None:
        self._connection = connection
        self.now = now
        self.is_postgres = connection.dialect.name == "postgresql"

    def propose(self, drafts: Sequence[Draft]) -> list[str]:
        """Write drafts as proposed changes, all or none; gives their ids.

        Raises:
            ChangeRefused: If a milestone has an open change, or a create is one that exists.
        """
        ids = []
        try:
            with self._connection.begin():
                for draft in drafts:
                    ids.append(self._insert(draft))
        except IntegrityError:
            raise ChangeRefused(self._taken(drafts)) from None
        return ids

    def _insert(self, draft: Draft) -> str:
        change_id = secrets.token_hex(8)
        values = {
            "change_id": change_id,
            "status": Status.PROPOSED,
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
            "proposed_at": self.now().isoformat(),
            "attempts": 0,
            "twins": "[]",
            "outcome": "",
        }
        self._connection.execute(tables.changes.insert().values(values))
        self._note(change_id, None, Status.PROPOSED, draft.proposer, draft.reason, None)
        return change_id

    def _taken(self, drafts: Sequence[Draft]) -> str:
        """Why drafts cannot be proposed beside what is there."""
        asked = [draft.milestone_id for draft in drafts if draft.milestone_id]
        for id_ in asked:
            if asked.count(id_) > 1:
                return f"milestone {id_} is asked for twice: at most one open change each"
        for change in self.changes(OPEN):
            if change.milestone_id in asked:
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
        query = sa.select(tables.changes).order_by(tables.changes.c.number)
        if statuses is not None:
            query = query.where(tables.changes.c.status.in_(sorted(statuses)))
        with self._connection.begin():
            return [_change(row) for row in self._connection.execute(query).mappings()]

    def change(self, change_id: str) -> Change:
        """One change.

        Raises:
            ChangeRefused: If there is none of this id.
        """
        query = sa.select(tables.changes).where(tables.changes.c.change_id == change_id)
        with self._connection.begin():
            row = self._connection.execute(query).mappings().first()
        if row is None:
            raise ChangeRefused(f"there is no change {change_id}: see `milestones changes --all`")
        return _change(row)

    def events(self, change_id: str | None = None) -> list[Event]:
        """What happened to a change, or to all, in order."""
        query = sa.select(tables.events).order_by(tables.events.c.number)
        if change_id is not None:
            query = query.where(tables.events.c.change_id == change_id)
        with self._connection.begin():
            return [_event(row) for row in self._connection.execute(query).mappings()]

    def approve(self, change: Change, who: str) -> Change:
        """Approve what was shown.

        Raises:
            ChangeRefused: If who approves also proposed, or the change is not proposed any more.
        """
        if _normalized_name(who) == _normalized_name(change.proposer):
            raise ChangeRefused(
                f"{who} proposed {change.change_id}, so another person must approve it (--as NAME)"
            )
        return self.move(
            change, Status.APPROVED, who, f"approved {change.digest}",
            approver=who, approved_digest=change.digest,
        )  # fmt: skip

    def move(
        self,
        change: Change,
        status: Status,
        who: str,
        what: str,
        request_id: str | None = None,
        **values: object,
    ) -> Change:
        """Move a change to another status, if it is still in the one it was read in.

        Args:
            change: As it was read.
            status: The new one.
            who: Who does it.
            what: Why, or what happened, in words.
            request_id: Kantata's name for the request.
            values: Further columns.

        Raises:
            ChangeRefused: If it cannot go there, or is somewhere else by now.
        """
        if status not in TRANSITIONS[change.status]:
            raise ChangeRefused(f"change {change.change_id} is {change.status}, so not {status}")
        new: dict[str, object] = {"status": status, "outcome": what, **values}
        with self._connection.begin():
            done = self._connection.execute(
                tables.changes.update()
                .where(
                    tables.changes.c.change_id == change.change_id,
                    tables.changes.c.status == change.status,
                )
                .values(new)
            )
            if done.rowcount != 1:
                raise ChangeRefused(
                    f"change {change.change_id} is not {change.status} any more: somebody was "
                    "faster, look again"
                )
            self._note(change.change_id, change.status, status, who, what, request_id)
            query = sa.select(tables.changes).where(tables.changes.c.change_id == change.change_id)
            return _change(self._connection.execute(query).mappings().one())

    def sending(
        self,
        change: Change,
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
        return self.move(
            change, Status.APPLYING, who, what, attempts=change.attempts + 1,
            sent_at=at.isoformat(), twins=json.dumps(sorted({*change.twins, *twins})),
            seen_updated_at=seen_updated_at,
        )  # fmt: skip

    def correct_sent_at(self, change: Change, at: datetime, who: str, what: str) -> Change:
        """Put another time of sending to an unknown change, one that can be true.

        Raises:
            ChangeRefused: If it is not unknown any more.
        """
        with self._connection.begin():
            done = self._connection.execute(
                tables.changes.update()
                .where(
                    tables.changes.c.change_id == change.change_id,
                    tables.changes.c.status == Status.UNKNOWN,
                )
                .values(sent_at=at.isoformat())
            )
            if done.rowcount != 1:
                raise ChangeRefused(f"change {change.change_id} is not unknown any more")
            self._note(change.change_id, change.status, change.status, who, what, None)
        return self.change(change.change_id)

    def bound_account(self) -> AccountBinding | None:
        """The account whose changes these are; None before the first push."""
        with self._connection.begin():
            row = self._connection.execute(sa.select(tables.account)).mappings().first()
        return None if row is None else AccountBinding(row["address"], row["account_id"])

    def bind_account(self, account: AccountBinding) -> None:
        """Say whose changes these are, once for all."""
        values = {
            "only_one": 1,
            "address": account.address,
            "account_id": account.account_id,
            "bound_at": self.now().isoformat(),
        }
        with self._connection.begin():
            self._connection.execute(tables.account.insert().values(values))

    def add_remark(self, change: Change, who: str, what: str) -> None:
        """Note something about a change that stays as it is."""
        with self._connection.begin():
            self._note(change.change_id, change.status, change.status, who, what, None)

    def take_over(self, other: Ledger) -> None:
        """Write into this one what another ledger holds; nothing that is here is taken away.

        Args:
            other: The other one; the lock of those who send must be held on both. What happened
                here must be the beginning of what happened there.
        """
        theirs, ours = other._held(), self._held()
        if ours[tables.account]:
            theirs.pop(tables.account)
        with self._connection.begin():
            for table, rows in theirs.items():
                key = next(iter(table.primary_key.columns))
                held = {row[key.name]: row for row in ours[table]}
                # First what goes on: of a milestone only one change may be open.
                for row in rows:
                    if held.get(row[key.name], row) != row:
                        update = table.update().where(key == row[key.name])
                        self._connection.execute(update.values(row))
                self._insert_copies(table, [row for row in rows if row[key.name] not in held])

    def _held(self) -> dict[sa.Table, list[dict[str, Any]]]:
        """Every row of every table."""
        with self._connection.begin():
            return {
                table: [dict(row) for row in self._connection.execute(sa.select(table)).mappings()]
                for table in (tables.changes, tables.events, tables.account)
            }

    def _insert_copies(self, table: sa.Table, rows: list[dict[str, Any]]) -> None:
        """Write rows with the numbers they have, and let new ones go on from there."""
        for start in range(0, len(rows), _AT_ONCE):
            self._connection.execute(table.insert(), rows[start : start + _AT_ONCE])
        if self.is_postgres and rows and "number" in table.c:
            last = max(row["number"] for row in rows)
            number = f"pg_get_serial_sequence('{tables.SCHEMA}.{table.name}', 'number')"
            self._connection.execute(sa.text(f"select setval({number}, {last})"))

    def _note(
        self,
        change_id: str,
        before: Status | None,
        after: Status,
        who: str,
        what: str,
        request_id: str | None,
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
        self._connection.execute(tables.events.insert().values(values))

    @contextmanager
    def pushing(self, wait: float = 0.0) -> Iterator[None]:
        """Hold the lock of those who send; on Postgres it lives on the ledger's own connection.

        Args:
            wait: Seconds to wait for whoever has it.

        Raises:
            WarehouseBusy: If another push is going.
        """
        if not self.is_postgres:
            # Resolved, so that all who reach the file by another name meet at one lock.
            path = Path(self._connection.engine.url.database or "").resolve()
            with file_lock(path.with_name(f"{path.name}.lock"), wait=wait, setting="LEDGER__URL"):
                yield
            return
        acquire(self._try_lock, lambda: "another push is going on this ledger", wait)
        yield  # the lock ends with the connection

    def _try_lock(self) -> bool:
        first, second = (str(key) for key in tables.LOCK)
        took = f"select pg_try_advisory_lock({first}, {second})"
        with self._connection.begin():
            return bool(self._connection.execute(sa.text(took)).scalar())


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
    engine = create_engine(url)
    try:
        with ExitStack() as stack:
            stack.callback(engine.dispose)
            connection = stack.enter_context(engine.connect())
            tables.prepare(connection)
            yield Ledger(connection, now)
    except DBAPIError as error:
        raise classify_failure(error, engine.url) from error


def _change(row: sa.RowMapping) -> Change:
    return Change(
        action=Action(row["action"]),
        milestone_id=row["milestone_id"],
        workspace_id=row["workspace_id"],
        currency=row["currency"],
        after=json.loads(row["fields_after"]),
        before=json.loads(row["fields_before"]),
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
    )


def _event(row: sa.RowMapping) -> Event:
    before = row["status_before"]
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
    )


def _normalized_name(who: str) -> str:
    """What makes two spellings the same person: é as one sign, or as e and an accent, too."""
    return " ".join(unicodedata.normalize("NFKC", who).split()).casefold()
