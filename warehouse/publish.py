"""The published file: the only one readers open, replaced whole after a proven run.

A DuckDB file has one process at a time, so a dashboard on the loader's file would make the load
fail. A reader that has the published file open keeps the copy it has.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import duckdb

from .errors import WarehouseUnwritable

_SPARE = 16 * 2**20  # bytes left free beside the copy


def publish(loader: Path, target: Path) -> None:
    """Copy the loader's file over the published one, in one step for readers.

    Args:
        loader: The file dlt loads into; no connection to it may be open.
        target: The file for readers.

    Raises:
        WarehouseUnwritable: If there is no room or no right; the old file stays.
    """
    copy = target.with_name(f".{target.name}.{os.getpid()}.new")
    try:
        _checkpoint(loader)
        target.parent.mkdir(parents=True, exist_ok=True)
        _make_room(loader, target)
        shutil.copyfile(loader, copy)
        with copy.open("rb") as file:
            os.fsync(file.fileno())
        # What somebody wrote into the old file and left in its log must not get into the new one.
        target.with_name(f"{target.name}.wal").unlink(missing_ok=True)
        copy.replace(target)
    except OSError as error:
        raise WarehouseUnwritable(
            f"cannot publish to {target.absolute()}: {error.strerror or error}. What was there "
            "stays; the warehouse itself is up to date."
        ) from None
    finally:
        copy.unlink(missing_ok=True)


def _checkpoint(loader: Path) -> None:
    """Write everything into the file itself, so that a copy of it is whole."""
    with duckdb.connect(str(loader)) as connection:
        connection.execute("checkpoint")


def _make_room(loader: Path, target: Path) -> None:
    """Take away copies that killed runs left, and see whether a new one fits."""
    for left in target.parent.glob(f".{target.name}.*.new"):
        left.unlink(missing_ok=True)
    needed = loader.stat().st_size + _SPARE
    free = shutil.disk_usage(target.parent).free
    if free < needed:
        raise WarehouseUnwritable(
            f"cannot publish to {target.absolute()}: it needs {needed / 2**20:.0f} MiB and "
            f"{free / 2**20:.0f} MiB are free. What was there stays; the warehouse itself is "
            "up to date."
        )
