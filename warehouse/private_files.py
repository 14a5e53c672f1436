"""Make folders and files that only their owner may read; those that exist keep their rights."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_FOLDER, _FILE = 0o700, 0o600


def make_private_folder(folder: Path) -> None:
    """Make a private folder if it does not exist; the folders above it get the usual rights.

    Raises:
        OSError: If it cannot be made.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    folder.mkdir(mode=_FOLDER, exist_ok=True)


def make_private_file(file: Path) -> None:
    """Make an empty private file if it does not exist.

    Raises:
        OSError: If it cannot be made.
    """
    with suppress(FileExistsError):
        os.close(os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, _FILE))


def make_private(file: Path) -> None:
    """Take from others the right to read a file that another program has just made."""
    with suppress(OSError):  # a file system without rights
        file.chmod(_FILE)
