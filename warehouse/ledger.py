"""The ledger of changes: who asked, who approved, what was sent, what came back.

SQLite or Postgres. A transition is a compare-and-set and an event in one transaction; events are
protected from update and delete by the database itself.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import ArgumentError, DBAPIError, IntegrityError
from sqlalchemy.pool import NullPool

from .change import OPEN, TRANSITIONS, Action, Change, Draft, Event, Status
from .errors import (
    ChangeRefused,
    WarehouseBusy,
    WarehouseMisconfigured,
    WarehouseUnavailable,
    WarehouseUnwritable,
)
from .lock import file_lock

LEDGER_VERSION = 1  # of the tables' shape
# What each version needs on top of the one before.
_MIGRATIONS: Mapping[int, tuple[str, ...]] = {}
_SCHEMA = "kantata_ledger"  # on Postgres
_AT_ONCE = 500  # rows in one statement
_LOCK = (0x6D696C65, 2)  # "mile" in ASCII, and the second lock of ours

_HELD = sa.text(f"status in ({', '.join(repr(str(s)) for s in sorted(OPEN))})")
_MADE = sa.text(f"status in ({', '.join(repr(str(s)) for s in sorted({*OPEN, Status.APPLIED}))})")
_meta = sa.MetaData(schema=_SCHEMA)
_version = sa.Table("ledger_version", _meta, sa.Column("version", sa.Integer, nullable=False))
_changes = sa.Table(
    "changes",
    _meta,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),  # in order of proposal
    sa.Column("change_id", sa.Text, nullable=False, unique=True),
    sa.Column("status", sa.Text, nullable=False),
    sa.Column("action", sa.Text, nullable=False),
    sa.Column("milestone_id", sa.Text),
    sa.Column("workspace_id", sa.Text, nullable=False),
    sa.Column("currency", sa.Text),
    sa.Column("fields_after", sa.Text, nullable=False),  # JSON
    sa.Column("fields_before", sa.Text, nullable=False),  # JSON
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("proposer", sa.Text, nullable=False),
    sa.Column("duplicate", sa.Integer, nullable=False),  # 1: a create may equal another one
    sa.Column("twin_key", sa.Text),
    sa.Column("proposed_at", sa.Text, nullable=False),  # times are ISO 8601, UTC
    sa.Column("approver", sa.Text),
    sa.Column("approved_digest", sa.Text),
    sa.Column("attempts", sa.Integer, nullable=False),
    sa.Column("sent_at", sa.Text),
    sa.Column("twins", sa.Text, nullable=False),  # JSON
    sa.Column("outcome", sa.Text, nullable=False),
    sa.Index(
        "one_open_change_of_a_milestone", "milestone_id", unique=True,
        postgresql_where=_HELD, sqlite_where=_HELD,
    ),
    sa.Index(
        "one_create_of_a_kind", "twin_key", unique=True, postgresql_where=_MADE, sqlite_where=_MADE
    ),
    sqlite_autoincrement=True,
)  # fmt: skip
_events = sa.Table(
    "events",
    _meta,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("change_id", sa.Text, sa.ForeignKey(_changes.c.change_id), nullable=False),
    sa.Column("at", sa.Text, nullable=False),
    sa.Column("status_before", sa.Text),
    sa.Column("status_after", sa.Text, nullable=False),
    sa.Column("who", sa.Text, nullable=False),
    sa.Column("what", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text),
    sa.Column("db_user", sa.Text),
    sa.Index("events_of_a_change", "change_id", "number"),
    sqlite_autoincrement=True,
)
_PROTECTION = {
    "sqlite": [
        f"create trigger events_{what}_refused before {what} on events "
        "begin select raise(abort, 'events of the ledger are never altered'); end"
        for what in ("update", "delete")
    ],
    "postgresql": [
        f"create function {_SCHEMA}.refuse() returns trigger language plpgsql as "
        "$$ begin raise exception 'events of the ledger are never altered'; end $$",
        f"create trigger events_refused before update or delete or truncate on {_SCHEMA}.events "
        f"for each statement execute function {_SCHEMA}.refuse()",
    ],
}


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
        self._connection.execute(_changes.insert().values(values))
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
        query = sa.select(_changes).order_by(_changes.c.number)
        if statuses is not None:
            query = query.where(_changes.c.status.in_(sorted(statuses)))
        with self._connection.begin():
            return [_change(row) for row in self._connection.execute(query).mappings()]

    def change(self, change_id: str) -> Change:
        """One change.

        Raises:
            ChangeRefused: If there is none of this id.
        """
        query = sa.select(_changes).where(_changes.c.change_id == change_id)
        with self._connection.begin():
            row = self._connection.execute(query).mappings().first()
        if row is None:
            raise ChangeRefused(f"there is no change {change_id}: see `milestones changes --all`")
        return _change(row)

    def events(self, change_id: str | None = None) -> list[Event]:
        """What happened to a change, or to all, in order."""
        query = sa.select(_events).order_by(_events.c.number)
        if change_id is not None:
            query = query.where(_events.c.change_id == change_id)
        with self._connection.begin():
            return [_event(row) for row in self._connection.execute(query).mappings()]

    def approve(self, change: Change, who: str) -> Change:
        """Approve what was shown.

        Raises:
            ChangeRefused: If who approves also proposed, or the change is not proposed any more.
        """
        if _name(who) == _name(change.proposer):
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
                _changes.update()
                .where(_changes.c.change_id == change.change_id, _changes.c.status == change.status)
                .values(new)
            )
            if done.rowcount != 1:
                raise ChangeRefused(
                    f"change {change.change_id} is not {change.status} any more: somebody was "
                    "faster, look again"
                )
            self._note(change.change_id, change.status, status, who, what, request_id)
            query = sa.select(_changes).where(_changes.c.change_id == change.change_id)
            return _change(self._connection.execute(query).mappings().one())

    def sending(self, change: Change, who: str, what: str, twins: Sequence[str]) -> Change:
        """Note that a change is about to be sent."""
        return self.move(
            change, Status.APPLYING, who, what, attempts=change.attempts + 1,
            sent_at=self.now().isoformat(), twins=json.dumps(sorted({*change.twins, *twins})),
        )  # fmt: skip

    def remark(self, change: Change, who: str, what: str) -> None:
        """Note something about a change that stays as it is."""
        with self._connection.begin():
            self._note(change.change_id, change.status, change.status, who, what, None)

    def take_over(self, other: Ledger) -> None:
        """Write all that another ledger holds into this one, which is empty.

        Args:
            other: The other one; the lock of those who send must be held on both.
        """
        with other._connection.begin():
            held = {
                table: [dict(row) for row in other._connection.execute(sa.select(table)).mappings()]
                for table in (_changes, _events)
            }
        with self._connection.begin():
            for table, rows in held.items():
                for start in range(0, len(rows), _AT_ONCE):
                    self._connection.execute(table.insert(), rows[start : start + _AT_ONCE])
                if self.is_postgres and rows:
                    last = max(row["number"] for row in rows)
                    number = f"pg_get_serial_sequence('{_SCHEMA}.{table.name}', 'number')"
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
        self._connection.execute(_events.insert().values(values))

    @contextmanager
    def pushing(self, wait: float = 0.0) -> Iterator[None]:
        """Hold the lock of those who send; on Postgres it lives on the ledger's own connection.

        Args:
            wait: Seconds to wait for whoever has it.

        Raises:
            WarehouseBusy: If another push is going.
        """
        if not self.is_postgres:
            path = Path(self._connection.engine.url.database or "")
            with file_lock(path.with_name(f"{path.name}.lock"), wait=wait):
                yield
            return
        deadline = time.monotonic() + wait
        while not self._try_lock():
            if time.monotonic() > deadline:
                raise WarehouseBusy("another push is going on this ledger")
            time.sleep(0.5)
        yield  # the lock ends with the connection

    def _try_lock(self) -> bool:
        first, second = (str(key) for key in _LOCK)
        took = f"select pg_try_advisory_lock({first}, {second})"
        with self._connection.begin():
            return bool(self._connection.execute(sa.text(took)).scalar())


@contextmanager
def opened_ledger(url: str, now: Callable[[], datetime]) -> Iterator[Ledger]:
    """Open the ledger, and make it if there is none.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user:password@host:5432/database``.
        now: Gives the time, UTC.

    Raises:
        WarehouseMisconfigured: If the address is none, or a later release wrote the ledger.
        WarehouseUnwritable: If its file cannot be written.
        WarehouseUnavailable: If its database does not answer.
    """
    engine = _engine(url)
    try:
        with ExitStack() as stack:
            stack.callback(engine.dispose)
            connection = stack.enter_context(engine.connect())
            _prepare(connection)
            yield Ledger(connection, now)
    except DBAPIError as error:
        raise _failure(error, engine.url) from error


def _engine(url: str) -> sa.Engine:
    try:
        parsed = sa.make_url(url)
    except ArgumentError:
        parsed = URL.create("none")
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg2"):
        parsed = parsed.set(drivername="postgresql+psycopg2")
        return sa.create_engine(parsed, poolclass=NullPool, hide_parameters=True)
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite") or not parsed.database:
        raise WarehouseMisconfigured(
            "LEDGER__URL must be sqlite:///path/to/ledger.sqlite or "
            "postgresql://user:password@host:5432/database"
        )
    return _sqlite(parsed)


def _sqlite(url: URL) -> sa.Engine:
    path = Path(url.database or "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WarehouseUnwritable(
            f"cannot make the ledger's folder {path.parent}: {error.strerror}"
        ) from None
    engine = sa.create_engine(
        url, poolclass=NullPool, connect_args={"timeout": 10}
    ).execution_options(schema_translate_map={_SCHEMA: None})

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: object) -> None:  # noqa: ANN401 - a driver's own
        connection.isolation_level = None  # transactions begin when we say so
        cursor = connection.cursor()
        cursor.execute("pragma journal_mode = wal")
        cursor.execute("pragma synchronous = full")  # a change that was sent is never forgotten
        cursor.execute("pragma foreign_keys = on")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("begin immediate")  # else two writers could lock each other out

    return engine


def _prepare(connection: Connection) -> None:
    """Make the tables, or bring them up to this release's shape."""
    made = sa.inspect(connection).has_table("ledger_version", schema=_schema_of(connection))
    connection.rollback()
    if not made:
        _make(connection)
    with connection.begin():
        version = connection.execute(sa.select(_version.c.version)).scalar_one()
        if version > LEDGER_VERSION:
            raise WarehouseMisconfigured(
                f"the ledger has version {version} and this release knows {LEDGER_VERSION}: "
                "install the release that wrote it, or a later one"
            )
        for step in range(version + 1, LEDGER_VERSION + 1):
            for statement in _MIGRATIONS[step]:
                connection.execute(sa.text(statement))
        if version < LEDGER_VERSION:
            connection.execute(_version.update().values(version=LEDGER_VERSION))


def _make(connection: Connection) -> None:
    with connection.begin():
        if connection.dialect.name == "postgresql":
            first, second = (str(key) for key in _LOCK)
            connection.execute(sa.text(f"select pg_advisory_xact_lock({first}, {second} + 1)"))
            found = "select count(*) from information_schema.schemata where schema_name = :name"
            if not connection.execute(sa.text(found), {"name": _SCHEMA}).scalar():
                connection.execute(sa.text(f"create schema {_SCHEMA}"))
        if sa.inspect(connection).has_table("ledger_version", schema=_schema_of(connection)):
            return  # another process made it meanwhile
        _meta.create_all(connection, checkfirst=False)
        for statement in _PROTECTION[connection.dialect.name]:
            connection.execute(sa.text(statement))
        connection.execute(_version.insert().values(version=LEDGER_VERSION))


def _schema_of(connection: Connection) -> str | None:
    return None if connection.dialect.name == "sqlite" else _SCHEMA


def _failure(error: DBAPIError, url: URL) -> Exception:
    said = (str(error.orig).strip().splitlines() or ["no reason given"])[0][:300]
    if any(words in said for words in ("readonly", "unable to open", "disk is full", "disk I/O")):
        return WarehouseUnwritable(f"cannot write the ledger {url.database}: {said}")
    wrong = ("authentication failed", "does not exist", "not a database", "permission denied")
    if any(words in said for words in wrong):
        return WarehouseMisconfigured(f"the ledger cannot be opened: {said}. Mend LEDGER__URL.")
    return WarehouseUnavailable(f"the ledger failed: {said}")


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


def _name(who: str) -> str:
    return " ".join(who.split()).casefold()
