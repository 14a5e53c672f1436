"""A workbook with some milestones: a sheet to read, and one to change them in."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import xlsxwriter

from warehouse.raw.summary import minor_units
from warehouse.reader import WarehouseReader

from .workbook import WORKBOOK_OPTIONS, WorkbookWriter

SHEET = "Milestones"
MOST_CHANGEABLE = 20_000  # milestones, up to which there is a sheet to change them


def write_list_workbook(
    path: Path,
    reader: WarehouseReader,
    *,
    columns: Sequence[str],
    pages: Iterable[Sequence[tuple[Any, ...]]],
    timezone: str,
) -> None:
    """Write a workbook with a list of milestones.

    Args:
        path: The file.
        reader: The warehouse.
        columns: The columns; the first is the milestone's id.
        pages: The rows.
        timezone: The time zone in which times are shown.
    """
    ids: list[str] = []

    def noted() -> Iterator[Sequence[tuple[Any, ...]]]:
        for page in pages:
            ids.extend(row[0] for row in page)
            yield page

    with xlsxwriter.Workbook(str(path), WORKBOOK_OPTIONS) as book:
        writer = WorkbookWriter(book, minor_units(reader), ZoneInfo(timezone))
        writer.write_table(SHEET, list(columns), noted())
        if len(ids) <= MOST_CHANGEABLE:
            writer.write_changes(reader, ids)
