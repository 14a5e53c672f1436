"""Export the marts: a workbook with all of them, or one as CSV.

The file is replaced when the new one is complete. All of it is read from one consistent state.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warehouse.database import MARTS
from warehouse.errors import WarehouseError, WarehouseMisconfigured
from warehouse.models.sql_files import Model, marts
from warehouse.reader import WarehouseReader, open_reader
from warehouse.target import Target

from .output_file import replace_file
from .workbook import MOST_ROWS, write_workbook

_PAGE = 50_000


@dataclass(frozen=True, kw_only=True)
class ExportResult:
    """What was exported.

    Args:
        file: The file.
        rows: The number of rows by mart, or by sheet.
        shortened: The number of texts that were cut, since a cell could not hold them.
    """

    file: str
    rows: dict[str, int]
    shortened: int = 0


def export(target: Target, file: Path, mart: str | None = None) -> ExportResult:
    """Export all marts to a workbook, or one to a CSV file.

    Args:
        target: The warehouse.
        file: The file; its ending says which.
        mart: The mart, for CSV.

    Raises:
        WarehouseMisconfigured: If the ending or the mart is wrong, or a mart has too many rows for
            a sheet.
        WarehouseError: If the warehouse cannot be read, or the file not be written.
    """
    kind = file.suffix.lower()
    if kind not in (".xlsx", ".csv"):
        raise WarehouseMisconfigured(f"{file}: name it .xlsx for Excel, or .csv")
    if file.is_dir():
        raise WarehouseMisconfigured(f"{file} is a folder: name a file")
    models = {model.name: model for model in sorted(marts(), key=lambda model: model.name)}
    if kind == ".csv" and mart not in models:
        raise WarehouseMisconfigured(
            f"{f'there is no mart {mart}' if mart else 'a CSV file holds one mart'}: add --mart "
            f"with one of {', '.join(models)}"
        )
    if kind == ".xlsx" and mart:
        raise WarehouseMisconfigured("--mart is for a CSV file: a workbook has all marts")
    with open_reader(target) as reader:
        _check_built(reader, models)
        if kind == ".csv":
            return _replaced(file, lambda path: _write_csv(reader, models[mart or ""], path))
        counts = {name: _count(reader, name) for name in models}
        if large := [name for name, count in counts.items() if count > MOST_ROWS]:
            raise WarehouseMisconfigured(
                f"{large[0]} has {counts[large[0]]:,} rows, and a sheet holds {MOST_ROWS:,}: "
                f"use CSV, milestones export {file.with_suffix('.csv')} --mart {large[0]}"
            )
        return _replaced(
            file,
            lambda path: write_workbook(
                path, reader, list(models.values()), pages=_pages, timezone=target.timezone
            ),
        )


def _check_built(reader: WarehouseReader, models: dict[str, Model]) -> None:
    """Refuse an export before the marts are built."""
    found = {
        name
        for (name,) in reader.rows(
            f"select table_name from information_schema.tables where table_schema = '{MARTS}'"
        )
    }
    if missing := [name for name in models if name not in found]:
        raise WarehouseError(
            f"the marts are not built yet ({', '.join(missing)} missing): run `milestones models`"
        )


def _count(reader: WarehouseReader, name: str) -> int:
    """Return the number of rows of a mart to export."""
    return int(reader.rows(f"select count(*) from {MARTS}.{name}")[0][0])


def _pages(reader: WarehouseReader, model: Model) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Yield the rows of a mart to export, some thousands at a time, in the order of its grain."""
    columns, keys = ", ".join(model.columns), ", ".join(model.grain)
    order = f"order by {keys}" if keys else ""
    start = 0
    while True:
        page = reader.rows(
            f"select {columns} from {MARTS}.{model.name} {order} limit {_PAGE} offset {start}"
        )
        yield page
        if len(page) < _PAGE:
            return
        start += _PAGE


def _write_csv(reader: WarehouseReader, model: Model, path: Path) -> tuple[dict[str, int], int]:
    """Write a mart to a CSV file, exactly."""
    rows = 0
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(model.columns)
        for page in _pages(reader, model):
            writer.writerows([_csv_value(value) for value in row] for row in page)
            rows += len(page)
    return {model.name: rows}, 0


def _csv_value(value: Any) -> Any:  # noqa: ANN401 - a row's
    """Return a value as a CSV file has it: times in UTC, true and false as in SQL."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return value.isoformat() if hasattr(value, "isoformat") else value


def _replaced(file: Path, write: Callable[[Path], tuple[dict[str, int], int]]) -> ExportResult:
    """Write an export in place of its file, which is as before if that fails."""
    rows: dict[str, int] = {}
    shortened = 0

    def write_all(new: Path) -> None:
        nonlocal shortened
        counts, shortened = write(new)
        rows.update(counts)

    replace_file(file, write_all)
    return ExportResult(file=str(file), rows=rows, shortened=shortened)
