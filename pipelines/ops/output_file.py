"""Replace a file that people asked for, in one step: readers see the old content or the new one."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from warehouse.errors import WarehouseUnwritable
from warehouse.private_files import replacement


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
    try:
        with replacement(real, private=real.exists()) as new:
            write(new)
            with new.open("rb") as written:
                os.fsync(written.fileno())
            if real.exists():
                with suppress(PermissionError):  # a file system without rights
                    new.chmod(stat.S_IMODE(real.stat().st_mode))
            new.replace(real)
    except OSError as error:
        raise WarehouseUnwritable(
            f"cannot write {file}: {error.strerror or error}. Name another file, or correct its "
            "folder."
        ) from None
