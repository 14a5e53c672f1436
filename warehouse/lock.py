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


@contextmanager
def file_lock(path: Path, shared: bool = False) -> Iterator[None]:
    """Hold a lock on this machine; the kernel frees it however the process ends.

    Args:
        path: The lock's file. It stays, and says who held the lock last.
        shared: For reading, beside others who read.

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
            "rights, or name another file in DESTINATION__DUCKDB__CREDENTIALS."
        ) from None
    try:
        _take(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield
    finally:
        os.close(file)


def _take(file: int, kind: int) -> None:
    deadline = time.monotonic() + _PATIENCE
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
def server_lock(database: Database) -> Iterator[None]:
    """Hold a lock on a Postgres server, for runs on other machines.

    Args:
        database: A connection of its own, open for the whole run; the lock ends with it.

    Raises:
        WarehouseBusy: If another connection holds it.
    """
    name = f"milestones, process {os.getpid()} on {socket.gethostname()}"
    database.run("select set_config('application_name', %s, false)", name[:63])
    if not database.rows("select pg_try_advisory_lock(%s, %s)", *_KEYS)[0][0]:
        held = database.rows(
            "select a.application_name, a.backend_start from pg_locks l "
            "join pg_stat_activity a on a.pid = l.pid "
            "where l.locktype = 'advisory' and l.granted and l.classid = %s and l.objid = %s",
            *_KEYS,
        )
        who = f"{held[0][0]} since {held[0][1]:%Y-%m-%d %H:%M:%S%z}" if held else "ended just now"
        raise WarehouseBusy(f"another run is going: {who}")
    yield
