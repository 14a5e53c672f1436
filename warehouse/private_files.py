"""Make folders and files that only their owner may read; those that exist keep their rights.

Links of other users are not followed.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path

_FOLDER, _FILE = 0o700, 0o600
_USUAL = 0o666  # less what the umask takes
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
        os.close(_create(file, _FILE))


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
    with open(_create(new, _USUAL), "w", encoding="utf-8") as opened:
        opened.write(text)
    new.replace(file)


@contextmanager
def replacement(file: Path, *, private: bool) -> Iterator[Path]:
    """Provide an empty file next to another, to be written and put in its place.

    Nobody can guess its name, so no link waits there. It is removed unless it was put in place.

    Args:
        file: The file to replace.
        private: Whether only its owner may read the new one; else it gets the usual rights.

    Raises:
        OSError: If it cannot be made.
    """
    new = file.with_name(f".{file.name}.{secrets.token_hex(8)}.new")
    os.close(_create(new, _FILE if private else _USUAL))
    try:
        yield new
    finally:
        new.unlink(missing_ok=True)


def remove_unfinished(file: Path) -> None:
    """Remove what killed processes left of replacements of a file; no other one may be at work.

    Raises:
        OSError: If one cannot be removed.
    """
    for ending in ("", "-wal", "-shm"):  # the latter two are of SQLite
        for new in file.parent.glob(f".{escape(file.name)}.*.new{ending}"):
            new.unlink(missing_ok=True)


def _create(file: Path, rights: int) -> int:
    """Create an empty file, and return its descriptor; fail if the name exists, even as a link."""
    return os.open(file, os.O_CREAT | os.O_EXCL | os.O_WRONLY, rights)


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


def owner_of(path: Path) -> str:
    """Return the name of the user who owns a file, or the user's number if it has no name."""
    try:
        return path.owner()
    except KeyError:
        return f"user {path.stat().st_uid}"


def is_posix() -> bool:
    """Return whether files of this system have owners and rights."""
    return os.name == "posix"
