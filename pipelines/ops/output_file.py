"""Replace a file that people asked for, in one step: readers see the old content or the new one."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from warehouse.errors import WarehouseUnwritable

_USUAL = 0o666  # less what the umask takes


def replace_file(file: Path, write: Callable[[Path], object]) -> None:
    """Write new content next to an output file, then put it in its place.

    A new file gets the usual rights, one that exists keeps its own. A link stays a link.

    Args:
        file: The file.
        write: Writes the whole content into the path it is given.

    Raises:
        WarehouseUnwritable: If there is no space or no permission; the file is as before.
    """
    real = Path(os.path.realpath(file))
    new: Path | None = None
    try:
        handle, name = tempfile.mkstemp(prefix=f".{real.name}.", suffix=".new", dir=real.parent)
        os.close(handle)
        new = Path(name)
        write(new)
        with new.open("rb") as written:
            os.fsync(written.fileno())
        with suppress(PermissionError):  # a file system without rights
            new.chmod(_rights(real))
        new.replace(real)
    except OSError as error:
        raise WarehouseUnwritable(
            f"cannot write {file}: {error.strerror or error}. Name another file, or correct its "
            "folder."
        ) from None
    finally:
        if new is not None:
            new.unlink(missing_ok=True)


def _rights(file: Path) -> int:
    """Return the rights for an output file: those it has, or the usual ones."""
    try:
        return stat.S_IMODE(file.stat().st_mode)
    except FileNotFoundError:
        mask = os.umask(0)
        os.umask(mask)
        return _USUAL & ~mask
