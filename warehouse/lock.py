"""One run at a time: dlt has no lock, and two runs at once lose or double rows."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from .database import Database
from .errors import WarehouseBusy, WarehouseUnwritable

_KEYS = (0x6D696C65, 1)  # "mile" in ASCII, and the first lock of ours
_PATIENCE = 2.0  # seconds; `milestones status` holds the lock for a moment
_POLL = 0.5  # seconds
# A machine that lost its power says no goodbye: the server asks, and frees its lock in a minute.
_KEEPALIVES = {
    "tcp_keepalives_idle": "30",
    "tcp_keepalives_interval": "10",
    "tcp_keepalives_count": "3",
}


@contextmanager
def file_lock(
    path: Path,
    shared: bool = False,
    wait: float = 0.0,
    setting: str = "DESTINATION__DUCKDB__CREDENTIALS",
) -> Iterator[None]:
    """Hold a lock on this machine; the kernel frees it however the process ends.

    Args:
        path: The lock's file. It stays, and says who held the lock last.
        shared: For reading, beside others who read.
        wait: Seconds to wait for whoever has it.
        setting: What names the file it is for.

    Raises:
        WarehouseBusy: If another process holds it.
        WarehouseUnwritable: If the file cannot be made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise WarehouseUnwritable(
            f"cannot write to {path.parent.absolute()}: {error.strerror}. Mend the folder's "
            f"rights, or name another file in {setting}."
        ) from None
    try:
        _take(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX, max(wait, _PATIENCE))
        yield
    finally:
        os.close(file)


def _take(file: int, kind: int, wait: float) -> None:
    deadline = time.monotonic() + wait
    while True:
        try:
            fcntl.flock(file, kind | fcntl.LOCK_NB)
            break
        except BlockingIOError:
            if time.monotonic() > deadline:
                holder = os.pread(file, 1000, 0).decode(errors="replace")
                raise WarehouseBusy(f"another run is going: {_described(holder)}") from None
            time.sleep(0.05)
    if kind == fcntl.LOCK_EX:
        since = datetime.now(UTC).isoformat(timespec="seconds")
        me = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
        os.ftruncate(file, 0)
        os.pwrite(file, json.dumps(me).encode(), 0)


def _described(holder: str) -> str:
    try:
        held = json.loads(holder)
        return f"process {held['pid']} on {held['host']} since {held['since']}"
    except (ValueError, KeyError, TypeError):
        return "a process that has not said who it is"


@contextmanager
def server_lock(database: Database, wait: float = 0.0) -> Iterator[None]:
    """Hold a lock on a Postgres server, for runs on other machines.

    Args:
        database: A connection of its own, open for the whole run; the lock ends with it.
        wait: Seconds to wait for whoever has it.

    Raises:
        WarehouseBusy: If another connection holds it.
    """
    name = f"milestones, process {os.getpid()} on {socket.gethostname()}"
    database.run("select set_config('application_name', %s, false)", name[:63])
    for setting, value in _KEEPALIVES.items():
        database.run("select set_config(%s, %s, false)", setting, value)
    deadline = time.monotonic() + wait
    while not database.rows("select pg_try_advisory_lock(%s, %s)", *_KEYS)[0][0]:
        if time.monotonic() > deadline:
            raise WarehouseBusy(f"another run is going: {_holder(database)}")
        time.sleep(_POLL)
    yield


def _holder(database: Database) -> str:
    held = database.rows(
        "select a.application_name, a.backend_start from pg_locks l "
        "join pg_stat_activity a on a.pid = l.pid "
        "where l.locktype = 'advisory' and l.granted and l.classid = %s and l.objid = %s "
        "and l.database = (select oid from pg_database where datname = current_database())",
        *_KEYS,
    )
    return f"{held[0][0]} since {held[0][1]:%Y-%m-%d %H:%M:%S%z}" if held else "ended just now"
