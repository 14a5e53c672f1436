"""The published file: the only one readers open, replaced whole after a proven run.

A DuckDB file has one process at a time, so a dashboard on the loader's file would make the load
fail. A reader that has the published file open keeps the copy it has.
"""

from __future__ import annotations

import glob
import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

import duckdb

from .errors import WarehouseUnwritable

_SPARE_BYTES = 16 * 2**20  # bytes left free beside the copy


def publish(loader: Path, target: Path) -> None:
    """Copy the loader's file over the published one, in one step for readers.

    The new file has the rights, and as far as this process may give them the owner and the group,
    of the one it replaces.

    Args:
        loader: The file dlt loads into; no connection to it may be open.
        target: The file for readers, or a link to it, which stays one.

    Raises:
        WarehouseUnwritable: If there is no room or no right; the old file stays.
    """
    # To replace a link would leave what it leads to as it is, for ever.
    file = Path(os.path.realpath(target))
    copy = file.with_name(f".{file.name}.{os.getpid()}.new")
    try:
        _checkpoint(loader)
        file.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale_copies(file)
        _check_free_space(loader, file)
        _copy(loader, copy, file)
        # What somebody wrote into the old file and left in its log must not get into the new one;
        # DuckDB calls the log as the file was called that was opened.
        for name in (file, target):
            name.with_name(f"{name.name}.wal").unlink(missing_ok=True)
        copy.replace(file)
    except OSError as error:
        raise WarehouseUnwritable(
            f"cannot publish to {target.absolute()}: {error.strerror or error}. What was there "
            "stays; the warehouse itself is up to date."
        ) from None
    finally:
        copy.unlink(missing_ok=True)


def _copy(loader: Path, copy: Path, old: Path) -> None:
    """Copy the whole file to disk, for those who may read the old one and nobody else."""
    if old.exists():
        copy.touch(mode=0o600)  # nobody else, also while it is written
    shutil.copyfile(loader, copy)
    with copy.open("rb") as file:
        if old.exists():
            _copy_permissions(copy, old.stat())
        os.fsync(file.fileno())


def _copy_permissions(copy: Path, old: os.stat_result) -> None:
    for owner in (old.st_uid, -1):  # only root may give a file away, a member may give its group
        with suppress(PermissionError):
            os.chown(copy, owner, old.st_gid)
            break
    mode = stat.S_IMODE(old.st_mode)
    new = copy.stat()
    if new.st_gid != old.st_gid:  # another group gets no more than everybody
        mode &= ~stat.S_IRWXG | (mode & stat.S_IRWXO) << 3
    if stat.S_IMODE(new.st_mode) != mode:  # a disk that knows no rights refuses to be asked
        copy.chmod(mode)


def _checkpoint(loader: Path) -> None:
    """Write everything into the file itself, so that a copy of it is whole."""
    with duckdb.connect(str(loader)) as connection:
        connection.execute("checkpoint")


def _remove_stale_copies(target: Path) -> None:
    """Remove the copies that killed runs left."""
    for copy in target.parent.glob(f".{glob.escape(target.name)}.*.new"):
        copy.unlink(missing_ok=True)


def _check_free_space(loader: Path, target: Path) -> None:
    needed = loader.stat().st_size + _SPARE_BYTES
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise WarehouseUnwritable(
            f"cannot publish to {target.absolute()}: it needs {needed / 2**20:.0f} MiB and "
            f"{free / 2**20:.0f} MiB are free. What was there stays; the warehouse itself is "
            "up to date."
        )
