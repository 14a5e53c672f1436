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
from warehouse.user_marts.files import SCHEMA as USER_SCHEMA
from warehouse.user_marts.registry import identifier, table_name

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
    if kind == ".csv" and mart not in models and not _is_of_user(mart):
        raise WarehouseMisconfigured(
            f"{f'there is no mart {mart}' if mart else 'a CSV file holds one mart'}: add --mart "
            f"with one of {', '.join(models)}, or with {USER_SCHEMA}.NAME"
        )
    if kind == ".xlsx" and mart:
        raise WarehouseMisconfigured("--mart is for a CSV file: a workbook has all marts")
    with open_reader(target) as reader:
        if mart and _is_of_user(mart):
            table = _user_table(reader, mart)
            return _replaced(file, lambda path: _write_csv(reader, table, path))
        _check_built(reader, models)
        if kind == ".csv":
            table = _mart_table(models[mart or ""])
            return _replaced(file, lambda path: _write_csv(reader, table, path))
        counts = {name: _count(reader, name) for name in models}
        if large := [name for name, count in counts.items() if count > MOST_ROWS]:
            raise WarehouseMisconfigured(
                f"{large[0]} has {counts[large[0]]:,} rows, and a sheet holds {MOST_ROWS:,}: "
                f"use CSV, milestones export {file.with_suffix('.csv')} --mart {large[0]}"
            )
        return _replaced(
            file,
            lambda path: write_workbook(
                path, reader, list(models.values()), pages=_mart_pages, timezone=target.timezone
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


@dataclass(frozen=True, kw_only=True)
class _Table:
    """A table to export.

    Args:
        name: The name of the mart.
        source: The table in SQL.
        columns: Its columns.
        order: What its rows are ordered by, in SQL; empty if it has one row.
    """

    name: str
    source: str
    columns: Sequence[str]
    order: str


def _mart_table(model: Model) -> _Table:
    """Return the table of one of our marts, to export it in the order of its grain."""
    return _Table(
        name=model.name,
        source=f"{MARTS}.{model.name}",
        columns=list(model.columns),
        order=", ".join(model.grain),
    )


def _is_of_user(mart: str | None) -> bool:
    """Return whether the mart to export is named as one that a user wrote."""
    return mart is not None and mart.startswith(f"{USER_SCHEMA}.")


def _user_table(reader: WarehouseReader, mart: str) -> _Table:
    """Return the table of a user's mart, to export it in the order of all its columns.

    Raises:
        WarehouseMisconfigured: If there is none.
    """
    found: dict[str, list[str]] = {}
    for name, column in reader.rows(
        "select table_name, column_name from information_schema.columns "
        f"where table_schema = '{USER_SCHEMA}' order by table_name, ordinal_position"
    ):
        found.setdefault(f"{USER_SCHEMA}.{name}", []).append(column)
    if mart not in found:
        hint = (
            f"add --mart with one of {', '.join(found)}" if found else "no mart of yours is built"
        )
        raise WarehouseMisconfigured(f"there is no mart {mart}: {hint}")
    columns = found[mart]
    return _Table(
        name=mart,
        source=table_name(mart.partition(".")[2]),
        columns=columns,
        order=", ".join(f"{identifier(column)}::text" for column in columns),
    )


def _mart_pages(reader: WarehouseReader, model: Model) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Yield the rows of one of our marts to export, some thousands at a time."""
    return _pages(reader, _mart_table(model))


def _pages(reader: WarehouseReader, table: _Table) -> Iterator[Sequence[tuple[Any, ...]]]:
    """Yield the rows of a table to export, some thousands at a time, in its order."""
    columns = ", ".join(map(identifier, table.columns))
    order = f"order by {table.order}" if table.order else ""
    start = 0
    while True:
        page = reader.rows(
            f"select {columns} from {table.source} {order} limit {_PAGE} offset {start}"
        )
        yield page
        if len(page) < _PAGE:
            return
        start += _PAGE


def _write_csv(reader: WarehouseReader, table: _Table, path: Path) -> tuple[dict[str, int], int]:
    """Write a mart's table to a CSV file, exactly."""
    rows = 0
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(table.columns)
        for page in _pages(reader, table):
            writer.writerows([_csv_value(value) for value in row] for row in page)
            rows += len(page)
    return {table.name: rows}, 0


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
