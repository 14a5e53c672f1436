"""The lock file that lets one run at a time write a warehouse; ``server_lock`` has the other lock.

dlt has no lock, and two runs at the same time lose or duplicate rows.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from .errors import (
    LocksUnsupported,
    LockUnopened,
    WarehouseBusy,
    WarehouseMisconfigured,
    WarehouseUnwritable,
)
from .private_files import make_private_folder, owner_of

try:
    import fcntl
except ImportError:  # Windows
    _HAS_LOCKS = False
else:
    _HAS_LOCKS = True

SHORTEST_WAIT = 2.0  # seconds; `milestones status` holds the lock briefly
_POLL_INTERVAL = 0.1  # seconds
BUSY = "another run is in progress:"
_BUSY_READING = "the warehouse is being read by another command"
Note = Callable[[str], None]


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
        LocksUnsupported: If this system or the file system has no file locks.
        LockUnopened: If the lock is shared, and the file belongs to another user.
        WarehouseMisconfigured: If its folder is a file.
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
        if isinstance(error, (FileExistsError, NotADirectoryError)):
            raise WarehouseMisconfigured(
                f"{path.parent.absolute()} is not a folder: name another file in {setting}"
            ) from None
        if isinstance(error, PermissionError) and os.path.isfile(path):
            raise WarehouseUnwritable(
                f"cannot open the lock file {path.absolute()}, which belongs to {owner_of(path)}: "
                "run the command as this user. If a user who does not run the job made the file, "
                "remove it"
            ) from None
        raise WarehouseUnwritable(
            f"cannot write to {path.parent.absolute()}: {error.strerror}. Correct the "
            f"folder's permissions, or name another file in {setting}."
        ) from None
    try:
        kind = fcntl.LOCK_SH if shared else fcntl.LOCK_EX
        acquire(
            partial(_try_flock, file, kind, path),
            partial(_describe_file_holder, file, path),
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


def _try_flock(file: int, kind: int, path: Path) -> bool:
    """Try once to lock an open lock file; return whether it succeeded.

    Raises:
        LocksUnsupported: If its file system cannot lock files.
    """
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:  # NFS: 37 without a lock service, 95, 5, or 116 after a restart
        raise LocksUnsupported(
            f"cannot lock {path.absolute()}: {error.strerror} (errno {error.errno}). The file "
            "system of this folder has no working file locks, as NFS without its lock service: use "
            "a folder on a local disk"
        ) from None
    return True


def _write_holder(file: int) -> None:
    """Write this process into the lock file, as the holder of the lock."""
    since = datetime.now(UTC).isoformat(timespec="seconds")
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "since": since}
    os.ftruncate(file, 0)
    os.pwrite(file, json.dumps(holder).encode(), 0)


def _describe_file_holder(file: int, path: Path) -> str:
    """Return who holds the lock file, for messages: a run, or a process that reads."""
    if _try_flock(file, fcntl.LOCK_SH, path):  # no run holds it: the last holder has ended
        fcntl.flock(file, fcntl.LOCK_UN)
        return _BUSY_READING
    try:
        holder = json.loads(os.pread(file, 1000, 0))
        return f"{BUSY} process {holder['pid']} on {holder['host']} since {holder['since']}"
    except (ValueError, KeyError, TypeError):
        return f"{BUSY} a process that has not written its name yet"
