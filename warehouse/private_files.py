"""Make folders and files that only their owner may read; those that exist keep their rights.

Links of other users are not followed.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

_FOLDER, _FILE = 0o700, 0o600
_MOST_LINKS = 40  # as of Linux


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


def replace_text(file: Path, text: str) -> None:
    """Replace the content of a file in one step; a link in place of the new file is not followed.

    Raises:
        OSError: If it cannot be written.
    """
    new = file.with_name(f"{file.name}.new")
    new.unlink(missing_ok=True)  # of a run that was killed, or a link that leads elsewhere
    descriptor = os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666)
    with open(descriptor, "w", encoding="utf-8") as opened:
        opened.write(text)
    new.replace(file)


def is_link_of_others(path: Path) -> bool:
    """Return whether a path is a link of another user, who could let it lead to any of our files.

    A link of root counts as ours.
    """
    for _ in range(_MOST_LINKS if is_posix() else 0):
        if not path.is_symlink():
            break
        if path.lstat().st_uid not in (0, os.geteuid()):
            return True
        path = path.parent / path.readlink()
    return False


def is_posix() -> bool:
    """Return whether files of this system have owners and rights."""
    return os.name == "posix"
