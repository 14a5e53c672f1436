"""A lock on a Postgres server, which excludes runs and pushes on other machines.

An advisory lock belongs to a session of the server. Behind a connection pooler in transaction mode,
such as pgbouncer, each transaction may get another session, and several processes share one: the
lock is then held by all of them, or by none. So the lock is refused there. A run that has it checks
before each write that it is still the lock of its own session.
"""

from __future__ import annotations

import os
import re
import secrets
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from typing import Any

from .database import Database
from .errors import WarehouseMisconfigured
from .locks import BUSY, SHORTEST_WAIT, Note, acquire

#: Runs a statement in a transaction of its own or in the open one; the values replace its ``%s``.
Query = Callable[..., list[tuple[Any, ...]]]
LockKey = tuple[int, int]

_RUN_LOCK_KEY = (0x6D696C65, 1)  # "mile" in ASCII, and the number of this lock
_ROUNDS = 3
_POOLED = (
    "a connection pooler gives this connection to Postgres to other processes, too, as pgbouncer "
    "does with pool_mode=transaction, and a lock on it protects nothing. Connect to the server "
    "directly, or through a pool in session mode"
)
_IS_OWN_LOCK = (
    "exists (select from pg_locks where locktype = 'advisory' and granted "
    "and pid = pg_backend_pid() and classid = %s and objid = %s and objsubid = 2 "
    "and database = (select oid from pg_database where datname = current_database()))"
)
# Null: another process has locked the session that this connection was given. Two such processes
# would both get the lock, since a session may take its own lock again.
_TAKE = (
    f"select case when {_IS_OWN_LOCK} then null when pg_try_advisory_lock(%s, %s) "
    "then set_config('milestones.lock_mark', %s, false) is not null else false end"
)
_IS_HELD = f"select {_IS_OWN_LOCK} and current_setting('milestones.lock_mark', true) = %s"
# Postgres keeps 63 bytes of an application name, and shows it to every role.
_APPLICATION_NAME = re.compile(
    r"milestones (?P<pid>\d+) (?P<since>\d{8}T\d{6}Z|waits) (?P<host>.+)"
)
_SINCE_FORMAT = "%Y%m%dT%H%M%SZ"


class ServerLock:
    """An advisory lock of one connection to a Postgres server; it ends with the connection.

    Args:
        query: Runs a statement on the connection.
        key: The two numbers of the lock.
    """

    def __init__(self, query: Query, key: LockKey) -> None:
        self._query = query
        self._key = key
        self._mark = secrets.token_hex(16)  # of the session that has the lock; nobody else knows it

    def try_take(self) -> bool:
        """Try once to take the lock on the server; return whether it succeeded.

        Raises:
            WarehouseMisconfigured: If the session is shared with another process that has the lock.
        """
        ((taken,),) = self._query(_TAKE, *self._key, *self._key, self._mark)
        if taken is None:
            raise WarehouseMisconfigured(_POOLED)
        return bool(taken)

    def ensure_held(self) -> None:
        """Check that the lock is still held by the session that this connection has now.

        Raises:
            WarehouseMisconfigured: If it is not, so that another process may have it.
        """
        ((held,),) = self._query(_IS_HELD, *self._key, self._mark)
        if not held:
            raise WarehouseMisconfigured(
                f"the lock on the Postgres server was lost, so nothing more is written: {_POOLED}"
            )


def ensure_own_session(query: Query, other: Query) -> None:
    """Check that a connection has a session of the server to itself, which a lock needs.

    Two connections that are open at the same time never have the same session, and never change
    it, unless a pooler gives them one for each transaction. A pooler may take the session that was
    used last or the one that was used first, so each connection asks twice in a row, and in turn.

    Args:
        query: Runs a statement on the connection.
        other: Runs a statement on another connection, open at the same time.

    Raises:
        WarehouseMisconfigured: If the session is shared or changes.
    """
    own: set[int] = set()
    others: set[int] = set()
    for _ in range(_ROUNDS):
        for ask, found in ((query, own), (query, own), (other, others), (other, others)):
            found.add(ask("select pg_backend_pid()")[0][0])
    if len(own) > 1 or len(others) > 1 or own == others:
        raise WarehouseMisconfigured(_POOLED)


@contextmanager
def server_lock(
    database: Database,
    *,
    wait: float = 0.0,
    note: Note | None = None,
    shortest_wait: float = SHORTEST_WAIT,
) -> Iterator[ServerLock]:
    """Hold the run lock on a Postgres server, which excludes runs on other machines.

    Args:
        database: A connection for this lock alone, open for the whole run; the lock ends with it.
        wait: Seconds to wait while another connection holds the lock.
        note: Receives one line that names the process it waits for.
        shortest_wait: Seconds to wait at least.

    Raises:
        WarehouseBusy: If another connection still holds the lock.
        WarehouseMisconfigured: If the session of the connection is shared with another process.
    """
    _set_application_name(database, "waits")
    lock = ServerLock(database.rows, _RUN_LOCK_KEY)
    acquire(
        lock.try_take,
        partial(_describe_holder, database),
        wait=wait,
        note=note,
        shortest_wait=shortest_wait,
    )
    _set_application_name(database, datetime.now(UTC).strftime(_SINCE_FORMAT))
    yield lock


def _set_application_name(database: Database, since: str) -> None:
    """Name this process on its connection to the server, with the time since when it has the lock.

    A connection that waits is older than its lock, so its own start time would be wrong.
    """
    name = f"milestones {os.getpid()} {since} {socket.gethostname()}"
    database.execute("select set_config('application_name', %s, false)", name[:63])


def _describe_holder(database: Database) -> str:
    """Return who holds the run lock on the Postgres server, for messages."""
    holders = database.rows(
        "select a.application_name, a.usename, l.pid from pg_locks l "
        "left join pg_stat_activity a on a.pid = l.pid "
        "where l.locktype = 'advisory' and l.granted and l.classid = %s and l.objid = %s "
        "and l.database = (select oid from pg_database where datname = current_database())",
        *_RUN_LOCK_KEY,
    )
    if not holders:
        return f"{BUSY} it ended just now"
    name, role, backend = holders[0]
    if not (known := _APPLICATION_NAME.fullmatch(name or "")):
        who = f"{name or 'a process without a name'}, role {role or 'unknown'}"
        return f"{BUSY} {who}, process {backend} of the server"
    who = f"{BUSY} milestones, process {known['pid']} on {known['host']}"
    if known["since"] == "waits":  # it has just got the lock, and not yet written since when
        return who
    since = datetime.strptime(known["since"], _SINCE_FORMAT).replace(tzinfo=UTC)
    return f"{who} since {since:%Y-%m-%d %H:%M:%S%z}"
