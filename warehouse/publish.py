"""Publishing a DuckDB warehouse: replacing the file that readers open, after a validated run.

Only one process at a time can open a DuckDB file, so a dashboard on the loader's file would make
the load fail. A reader that has the published file open keeps its old content until it reconnects.
"""

from __future__ import annotations

import os
import shutil
import stat
from contextlib import suppress
from pathlib import Path

import duckdb

from .errors import WarehouseUnwritable
from .failures import open_elsewhere
from .private_files import is_link_of_others, remove_unfinished, replacement

_SPARE_BYTES = 16 * 2**20  # bytes that stay free after copying


def publish(loader: Path, target: Path) -> None:
    """Replace the published file with a copy of the loader's file, in one step for readers.

    The new file gets the permissions of the old one, and its owner and group as far as this process
    may set them.

    Args:
        loader: The file dlt loads into; no connection to it may be open.
        target: The file for readers, or a symbolic link to it, which remains a link.

    Raises:
        WarehouseUnwritable: If there is no space or no permission, or the link belongs to another
            user; the old file remains.
        OpenElsewhere: If another process has the loader's file open; the same.
    """
    check_link(target)
    # Replacing the link itself would leave the file it points to unchanged for ever.
    file = Path(os.path.realpath(target))
    try:
        _checkpoint(loader)
        file.parent.mkdir(parents=True, exist_ok=True)
        remove_unfinished(file)
        _check_free_space(loader, file)
        # While it is written, only its owner may read what only some could read before.
        with replacement(file, private=file.exists()) as copy:
            _copy(loader, copy, file)
            # If somebody wrote into the old file, its log may remain; it must not be applied to the
            # new file. DuckDB names the log after the path by which the file was opened.
            for name in (file, target):
                name.with_name(f"{name.name}.wal").unlink(missing_ok=True)
            copy.replace(file)
    except OSError as error:
        raise WarehouseUnwritable(
            f"cannot publish to {target.absolute()}: {error.strerror or error}. Readers keep the "
            "old file; the warehouse itself is up to date."
        ) from None


def check_link(target: Path) -> None:
    """Check that the path to publish to is not a link of another user.

    Raises:
        WarehouseUnwritable: If it is; that user could let a run replace any of our files.
    """
    if is_link_of_others(target):
        raise WarehouseUnwritable(
            f"cannot publish to {target.absolute()}: it is a link of another user. Remove it, or "
            "name another file in WAREHOUSE__PUBLISH_TO."
        )


def _copy(loader: Path, copy: Path, old: Path) -> None:
    """Copy the loader's file to disk, to publish it; only readers of the old file may read it."""
    shutil.copyfile(loader, copy)
    with copy.open("rb") as file:
        if old.exists():
            _copy_permissions(copy, old.stat())
        os.fsync(file.fileno())


def _copy_permissions(copy: Path, old: os.stat_result) -> None:
    """Give the file to publish the owner, group and mode of the old one, as far as allowed."""
    for owner in (old.st_uid, -1):  # only root may change the owner; a member may set the group
        with suppress(PermissionError):
            os.chown(copy, owner, old.st_gid)
            break
    mode = stat.S_IMODE(old.st_mode)
    new = copy.stat()
    if new.st_gid != old.st_gid:  # a different group gets no more rights than everybody has
        mode &= ~stat.S_IRWXG | (mode & stat.S_IRWXO) << 3
    if stat.S_IMODE(new.st_mode) != mode:  # a file system without permissions refuses every chmod
        copy.chmod(mode)


def _checkpoint(loader: Path) -> None:
    """Write its log into the loader's file, so that the copy to publish is complete."""
    try:
        with duckdb.connect(str(loader)) as connection:
            connection.execute("checkpoint")
    except duckdb.IOException as error:
        raise open_elsewhere(error) or error from None


def _check_free_space(loader: Path, target: Path) -> None:
    """Check that the disk has enough free space to publish a copy of the loader's file."""
    needed = loader.stat().st_size + _SPARE_BYTES
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise WarehouseUnwritable(
            f"cannot publish to {target.absolute()}: it needs {needed / 2**20:.0f} MiB, and only "
            f"{free / 2**20:.0f} MiB are free. Readers keep the old file; the warehouse itself is "
            "up to date. Free some space, or name another file in WAREHOUSE__PUBLISH_TO."
        )
