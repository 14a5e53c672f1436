"""Read a CSV file as spreadsheets save it: its encoding, its separator, and its rows."""

from __future__ import annotations

import codecs
import csv
import io
import re
from collections.abc import Collection
from pathlib import Path
from typing import NamedTuple

_SEPARATORS = (",", ";", "\t")
_SEPARATOR_LINE = re.compile(r'"?sep=([,;|\t])"?\r?\n?')  # only Excel reads it
_HOW_TO_SAVE = (
    "save it in Excel as “CSV UTF-8 (Comma delimited)”, or in LibreOffice with the character set "
    "UTF-8"
)


class UnreadableCsv(Exception):
    """A CSV file cannot be read; each argument is a line of the message."""


class CsvRow(NamedTuple):
    """A row of a CSV file: the number of its last line, and its cells, as many as columns."""

    line: int
    cells: list[str]


class CsvFile(NamedTuple):
    """A CSV file: its columns, and its rows that are not empty."""

    columns: list[str]
    rows: list[CsvRow]


def read_csv(path: Path, known: Collection[str]) -> CsvFile:
    """Read a CSV file, without rows and unnamed columns that are empty.

    Args:
        path: The file.
        known: The names of columns by which its separator is recognised.

    Raises:
        UnreadableCsv: If it cannot be read, or a row has too many or too few cells.
    """
    text = _decoded(path)
    first, _, rest = text.partition("\n")
    skipped = 0
    if named := _SEPARATOR_LINE.fullmatch(first):
        text, skipped = rest, 1
    separator = named[1] if named else _separator(text, known)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    try:
        columns = next(reader, [])
        rows = [
            CsvRow(reader.line_num + skipped, cells)
            for cells in reader
            if any(map(str.strip, cells))
        ]
    except csv.Error as error:
        raise UnreadableCsv(f"{path}, line {reader.line_num + skipped}: {error}") from None
    return _trimmed(path, [name.strip() for name in columns], rows)


def _decoded(path: Path) -> str:
    """Return the text of a CSV file; refuse another encoding, and name it if it is known."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise UnreadableCsv(f"there is no file {path}: check its name and its folder") from None
    except OSError as error:
        raise UnreadableCsv(f"cannot read {path}: {error.strerror or error}") from None
    if content.startswith((b"PK\x03\x04", b"\xd0\xcf\x11\xe0")):
        raise UnreadableCsv(
            f"{path} is a workbook, not a CSV file: save it as CSV in UTF-8, or "
            "name it .xlsx if `milestones export` wrote it"
        )
    is_utf16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        return content.decode("utf-16" if is_utf16 else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
    encoding = "damaged UTF-16" if is_utf16 else _guessed(content)
    raise UnreadableCsv(
        f"cannot read {path}: line {line} is not in UTF-8, it looks like {encoding}: {_HOW_TO_SAVE}"
    )


def _guessed(content: bytes) -> str:
    """Return the encoding that a CSV file probably has, for a message."""
    return "UTF-16 without a mark" if b"\0" in content else "Windows-1252 (ANSI)"


def _separator(text: str, known: Collection[str]) -> str:
    """Return the separator by which the first line has the most known columns."""

    def known_columns(separator: str) -> int:
        header = next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), [])
        return sum(name.strip() in known for name in header)

    try:
        return max(_SEPARATORS, key=known_columns)  # the first one if they are equal
    except csv.Error:
        return ","


def _trimmed(path: Path, columns: list[str], rows: list[CsvRow]) -> CsvFile:
    """Return a CSV file without columns that have neither a name nor a value."""
    problems = []
    for line, cells in rows:
        if len(cells) < len(columns) or any(map(str.strip, cells[len(columns) :])):
            problems.append(
                f"line {line}: it has {len(cells)} values, but there are {len(columns)} columns: "
                "it must have as many values as there are columns"
            )
        elif unnamed := [
            number
            for number, (name, cell) in enumerate(zip(columns, cells, strict=False), start=1)
            if not name and cell.strip()
        ]:
            problems.append(f"line {line}: column {unnamed[0]} has a value, but no name in line 1")
    if problems:
        raise UnreadableCsv(f"{path}:", *problems)
    kept = [index for index, name in enumerate(columns) if name]
    return CsvFile(
        [columns[index] for index in kept],
        [CsvRow(line, [cells[index] for index in kept]) for line, cells in rows],
    )
