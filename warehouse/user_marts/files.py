"""Reading the SQL files of users: each is one mart or one check, with its documentation.

They have the same header as our own. What is wrong with a file concerns that file only.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from pathlib import Path

from warehouse.database import MARTS
from warehouse.errors import WarehouseMisconfigured
from warehouse.models.sql_files import Model, ModelKind, Severity, marts, parse_model

SCHEMA = "kantata_user"
_CHECKS = "checks"
_NAME = re.compile(r"[a-z][a-z0-9_]{0,62}")
_OPTION = re.compile(r"-- *(kind|severity): *(.+)")
# Text and comments are skipped, so that a name in them is no reference.
_REFERENCE = re.compile(
    rf"""'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/"""
    rf"""|(?<![\w."])"?(?P<schema>{SCHEMA}|{MARTS})"?\s*\.\s*"?(?P<name>\w+)""",
    re.IGNORECASE | re.DOTALL,
)
_END = re.compile(r";(\s|--[^\n]*|/\*((?!\*/).)*\*/)*$", re.DOTALL)


@dataclass(frozen=True, kw_only=True)
class UserFile:
    """A SQL file of a user.

    Args:
        path: The file as messages name it.
        text: Its content.
        model: Its content, parsed.
        reads: The tables of ``kantata_user`` that it names.
        reads_views: Whether it names a mart of ours that is a view, which changes with every run.
    """

    path: str
    text: str
    model: Model
    reads: frozenset[str]
    reads_views: bool

    @property
    def name(self) -> str:
        """The name of the mart or check in the file."""
        return self.model.name

    @property
    def query(self) -> str:
        """The text of the file without a semicolon at its end; its lines are those of the file."""
        return _END.sub("", self.text)

    @property
    def first_line(self) -> int:
        """The line of the file where the query begins, for errors that name no line."""
        lines = self.text.split("\n")
        header = len(list(takewhile(lambda line: not line.strip() or line.startswith("--"), lines)))
        return min(header, len(lines) - 1) + 1

    def line_of(self, column: str) -> int:
        """Return the line of the file that describes a column."""
        lines = self.text.split("\n")
        found = (n for n, line in enumerate(lines, 1) if re.match(rf"-- *{column}: ", line))
        return next(found, 1)

    def problem(self, message: str, line: int | None = None) -> str:
        """Return a line for people about what is wrong in the file."""
        return f"{self.path}:{line or self.first_line}: {message}"


@dataclass(kw_only=True)
class UserFolder:
    """The SQL files of a user's folder.

    Args:
        marts: The marts by name.
        checks: The checks.
        problems: What is wrong with other files, a line each.
        broken: The names of marts whose files are among the problems.
    """

    marts: dict[str, UserFile] = field(default_factory=dict)
    checks: list[UserFile] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    broken: set[str] = field(default_factory=set)


class _Malformed(Exception):
    """A user's file is malformed; the arguments are a message and a line."""

    def __init__(self, message: str, line: int = 1) -> None:
        super().__init__(message)
        self.line = line


def check_folder(folder: Path | None) -> None:
    """Check that the configured folder of a user's SQL files can be read.

    Raises:
        WarehouseMisconfigured: If it cannot. Otherwise a typing error would drop all tables.
    """
    if folder is None:
        return
    for place in (folder, folder / _CHECKS):
        if place == folder and not os.path.isdir(place):
            raise WarehouseMisconfigured(
                f"WAREHOUSE__MODELS names the folder {folder}, and there is none: create it, or "
                "correct the setting"
            )
        if os.path.isdir(place) and not os.access(place, os.R_OK | os.X_OK):
            raise WarehouseMisconfigured(
                f"WAREHOUSE__MODELS: the folder {place} cannot be read: correct its permissions"
            )


def read_folder(folder: Path) -> UserFolder:
    """Return the marts and checks in a user's folder, and what is wrong with its files.

    Raises:
        WarehouseMisconfigured: If the folder cannot be read.
    """
    check_folder(folder)
    found = UserFolder()
    for path in _sql_files(folder):
        try:
            mart = _read(path, ModelKind.TABLE)
            found.marts[mart.name] = mart
        except _Malformed as error:
            found.problems.append(f"{_shown(path)}:{error.line}: {error}")
            found.broken.add(path.stem)
    for path in _sql_files(folder / _CHECKS):
        try:
            found.checks.append(_read(path, ModelKind.CHECK))
        except _Malformed as error:
            found.problems.append(f"{_shown(path)}:{error.line}: {error}")
    return found


def _sql_files(folder: Path) -> Iterator[Path]:
    """Yield the SQL files in a folder of a user, by name; those of editors are hidden."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.suffix.lower() == ".sql" and not path.name.startswith("."):
                yield path


def _shown(path: Path) -> str:
    """Return the path of a user's file for messages; its name may not be text."""
    return str(path).encode(errors="replace").decode()


def _read(path: Path, kind: ModelKind) -> UserFile:
    """Return the content of a user's file.

    Raises:
        _Malformed: If it is malformed.
    """
    if not _NAME.fullmatch(path.stem) or path.suffix != ".sql":
        raise _Malformed(
            "the name of a file becomes that of a table: rename it to small letters, digits and _, "
            "beginning with a letter, such as revenue_by_team.sql"
        )
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text in UTF-8"
        raise _Malformed(f"the file cannot be read: {reason}") from None
    if "\0" in text:
        raise _Malformed("the file has a null character: write it as text in UTF-8")
    _check_options(text, kind)
    model = parse_model(path.stem, text, kind)
    if not model.sql:
        raise _Malformed("the file has no query: write one select after its comment")
    if not model.about:
        raise _Malformed("the file has no description: begin it with a comment: -- What a row is.")
    reads, ours = (_names_in(text, schema) for schema in (SCHEMA, MARTS))
    if kind is ModelKind.CHECK and not reads:
        raise _Malformed(f"a check must read a table of {SCHEMA}: this one reads none")
    views = {mart.name for mart in marts() if mart.kind is ModelKind.VIEW}
    return UserFile(
        path=str(path), text=text, model=model, reads=reads, reads_views=bool(views & ours)
    )


def _names_in(text: str, schema: str) -> frozenset[str]:
    """Return the names of a schema in the text of a user's file."""
    return frozenset(
        found["name"].lower()
        for found in _REFERENCE.finditer(text)
        if found["name"] and found["schema"].lower() == schema
    )


def _check_options(text: str, kind: ModelKind) -> None:
    """Check the options in the header of a user's file.

    Raises:
        _Malformed: If one has a value that does not exist.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if not line.startswith("--"):
            return
        if not (option := _OPTION.fullmatch(line.strip())):
            continue
        name, value = option[1], option[2].strip()
        if name == "severity" and kind is ModelKind.CHECK:
            if value not in list(Severity):
                raise _Malformed(f"severity is {value!r}: write blocking or warning", number)
        elif name == "kind" and value != kind:
            raise _Malformed(f"kind is {value!r}: remove the line, a mart is a table", number)
