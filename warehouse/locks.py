"""Locks that let one run at a time write a warehouse: a lock file, and a lock on the server.

dlt has no lock, and two runs at the same time lose or duplicate rows.
"""

from __future__ import annotations

import json
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from .database import Database
from .errors import LocksUnsupported, LockUnopened, WarehouseBusy, WarehouseUnwritable
from .private_files import make_private_folder

try:
    import fcntl
except ImportError:  # Windows
    _HAS_LOCKS = False
else:
    _HAS_LOCKS = True

_RUN_LOCK_KEY = (0x6D696C65, 1)  # "mile" in ASCII, and the number of this lock
SHORTEST_WAIT = 2.0  # seconds; `milestones status` holds the lock briefly
_POLL_INTERVAL = 0.1  # seconds
_BUSY = "another run is in progress:"
_BUSY_READING = "the warehouse is being read by another command"
Note = Callable[[str], None]
# A machine that loses power does not close its connection: with these settings the server notices
# within a minute, and frees the lock.
_KEEPALIVES = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}
# Postgres keeps 63 bytes of an application name, and shows it to every role.
_APPLICATION_NAME = re.compile(
    r"milestones (?P<pid>\d+) (?P<since>\d{8}T\d{6}Z|waits) (?P<host>.+)"
)
_SINCE_FORMAT = "%Y%m%dT%H%M%SZ"


def ensure_supported() -> None:
    """Check that this system has the file locks that a run needs.

    Raises:
        LocksUnsupported: If it has none, as Windows.
    """
    if not _HAS_LOCKS:
        raise LocksUnsupported(
            "this system has no file locks, which sync and push need: run milestones in WSL or in "
            "a container"
        )


@contextmanager
def file_lock(
    path: Path,
    *,
    shared: bool = False,
    wait: float = 0.0,
    note: Note | None = None,
    setting: str = "DESTINATION__DUCKDB__CREDENTIALS",
    shortest_wait: float = SHORTEST_WAIT,
) -> Iterator[None]:
    """Hold a lock file on this machine; the kernel frees the lock however the process ends.

    Args:
        path: The lock file. It remains afterwards, and contains its last holder.
        shared: Whether to lock it for reading only, which other readers may do at the same time.
        wait: Seconds to wait while another process holds the lock.
        note: Receives one line that names the process it waits for.
        setting: The setting that names the locked file, for messages.
        shortest_wait: Seconds to wait at least.

    Raises:
        WarehouseBusy: If another process still holds the lock.
        LocksUnsupported: If this system has no file locks.
        LockUnopened: If the lock is shared, and the file belongs to another user.
        WarehouseUnwritable: If the file cannot be created.
    """
    ensure_supported()
    try:
        make_private_folder(path.parent)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        if shared and isinstance(error, PermissionError):
            raise LockUnopened(
                f"lock file {path} belongs to another user: {error.strerror}"
            ) from None
        raise WarehouseUnwritable(
            f"cannot write to {path.parent.absolute()}: {error.strerror}. Correct the "
            f"folder's permissions, or name another file in {setting}."
        ) from None
    try:
        try_lock = partial(_try_flock, file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        acquire(
            try_lock,
            partial(_describe_file_holder, file),
            wait=wait,
            note=note,
            shortest_wait=shortest_wait,
        )
        if not shared:
            _write_holder(file)
        yield
    finally:
        os.close(file)


def acquire(
    try_lock: Callable[[], bool],
    describe_holder: Callable[[], str],
    *,
    wait: float,
    note: Note | None = None,
    shortest_wait: float = SHORTEST_WAIT,
) -> None:
    """Try to take a lock until it succeeds or the time is over.

    Args:
        try_lock: Tries once, and returns whether it succeeded.
        describe_holder: Returns who holds the lock, for messages.
        wait: Seconds to wait.
        note: Receives one line that names the process it waits for.
        shortest_wait: Seconds to wait at least, since a server needs a moment to notice that a
            process was killed.

    Raises:
        WarehouseBusy: If the lock is still held when the time is over.
    """
    deadline = time.monotonic() + max(wait, shortest_wait)
    while not try_lock():
        if time.monotonic() > deadline:
            raise WarehouseBusy(describe_holder())
        if note and wait > shortest_wait:
            note(f"{describe_holder()}; waiting for it, up to {wait:.0f} s")
            note = None
        time.sleep(_POLL_INTERVAL)


def _try_flock(file: int, kind: int) -> bool:
    """Try once to lock an open lock file; return whether it succeeded."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _write_holder(file: int) -> None:
    """Write this process into the lock file, as the holder of the lock."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(holder).encode(), 0)


def _describe_file_holder(file: int) -> str:
    """Return who holds the lock file, for messages: a run, or a process that reads."""
    if _try_flock(file, fcntl.LOCK_SH):  # no run holds it: the last holder has ended
        fcntl.flock(file, fcntl.LOCK_UN)
        return _BUSY_READING
    try:
        holder = json.loads(os.pread(file, 1000, 0))
        return f"{_BUSY} process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return f"{_BUSY} a process that has not written its name yet"


@contextmanager
def server_lock(
    database: Database,
    *,
    wait: float = 0.0,
    note: Note | None = None,
    shortest_wait: float = SHORTEST_WAIT,
) -> Iterator[None]:
    """Hold a lock on a Postgres server, which excludes runs on other machines.

    Args:
        database: A connection for this lock alone, open for the whole run; the lock ends with it.
        wait: Seconds to wait while another connection holds the lock.
        note: Receives one line that names the process it waits for.
        shortest_wait: Seconds to wait at least.

    Raises:
        WarehouseBusy: If another connection still holds the lock.
    """
    _set_application_name(database, "waits")
    for setting, value in _KEEPALIVES.items():
        database.execute("select set_config(%s, %s, false)", setting, value)
    try_lock = partial(_try_advisory_lock, database)
    acquire(
        try_lock,
        partial(_describe_server_holder, database),
        wait=wait,
        note=note,
        shortest_wait=shortest_wait,
    )
    _set_application_name(database, datetime.now(UTC).strftime(_SINCE_FORMAT))
    yield


def _set_application_name(database: Database, since: str) -> None:
    """Name this process on its connection, with the time since when it holds the lock.

    A connection that waits is older than its lock, so its own start time would be wrong.
    """
    name = f"milestones {os.getpid()} {since} {socket.gethostname()}"
    database.execute("select set_config('application_name', %s, false)", name[:63])


def _try_advisory_lock(database: Database) -> bool:
    """Try once to take the run lock on the Postgres server; return whether it succeeded."""
    return bool(database.rows("select pg_try_advisory_lock(%s, %s)", *_RUN_LOCK_KEY)[0][0])


def _describe_server_holder(database: Database) -> str:
    """Return who holds the run lock on the Postgres server, for messages."""
    holders = database.rows(
        "select a.application_name, a.usename, l.pid from pg_locks l "
        "left join pg_stat_activity a on a.pid = l.pid "
        "where l.locktype = 'advisory' and l.granted and l.classid = %s and l.objid = %s "
        "and l.database = (select oid from pg_database where datname = current_database())",
        *_RUN_LOCK_KEY,
    )
    if not holders:
        return f"{_BUSY} it ended just now"
    name, role, backend = holders[0]
    if not (known := _APPLICATION_NAME.fullmatch(name or "")):
        who = f"{name or 'a process without a name'}, role {role or 'unknown'}"
        return f"{_BUSY} {who}, process {backend} of the server"
    who = f"{_BUSY} milestones, process {known['pid']} on {known['host']}"
    if known["since"] == "waits":  # it has just got the lock, and not yet written since when
        return who
    since = datetime.strptime(known["since"], _SINCE_FORMAT).replace(tzinfo=UTC)
    return f"{who} since {since:%Y-%m-%d %H:%M:%S%z}"
