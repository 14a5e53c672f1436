"""Write the marts to a workbook: a sheet each, the definitions, and the sheet for changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import date, datetime
from decimal import Decimal
from math import isfinite
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import xlsxwriter
from xlsxwriter.exceptions import XlsxWriterException

from pipelines.writeback import sheet_rows
from warehouse.account import bound_account
from warehouse.models.metrics import metrics
from warehouse.models.sql_files import Model
from warehouse.raw.runs import last_proven_run
from warehouse.raw.summary import minor_units
from warehouse.reader import WarehouseReader

MOST_ROWS = 1_048_575  # of a sheet, below its header
_CUT = "… (cut)"
_MONEY = "#,##0"
_EARLIEST = date(1900, 3, 1)  # Excel has a 29 February 1900, so earlier dates are text
_OPTIONS = {
    "constant_memory": True,
    "strings_to_formulas": False,
    "strings_to_numbers": False,
    "strings_to_urls": False,
}
_WIDTHS = {"title": 40, "project": 30, "task": 30, "reason": 30, "meaning": 100, "column": 30}

Pages = Callable[[WarehouseReader, Model], Iterator[Sequence[tuple[Any, ...]]]]


def write_workbook(
    path: Path, reader: WarehouseReader, models: Sequence[Model], *, pages: Pages, timezone: str
) -> tuple[dict[str, int], int]:
    """Write a workbook with all marts.

    Args:
        path: The file.
        reader: The warehouse.
        models: The marts.
        pages: Reads the rows of a mart.
        timezone: The time zone in which times are shown.

    Returns:
        The number of rows by sheet, and the number of texts that were cut.

    Raises:
        OSError: If it cannot be written.
    """
    try:
        with xlsxwriter.Workbook(str(path), _OPTIONS) as book:
            writer = _Writer(book, minor_units(reader), ZoneInfo(timezone))
            rows = {sheet_rows.SHEET: writer.write_changes(reader)}
            for model in models:
                rows[model.name] = writer.write_mart(model, pages(reader, model))
            writer.write_definitions(models, timezone)
    except XlsxWriterException as error:
        cause = error.args[0] if error.args else error
        raise cause if isinstance(cause, OSError) else OSError(str(error)) from None
    return rows, writer.shortened


class _Writer:
    """Writes the sheets of a workbook.

    Args:
        book: The workbook.
        units: The value of one minor unit, by currency.
        zone: The time zone in which times are shown.
    """

    def __init__(self, book: Any, units: dict[str, Decimal], zone: ZoneInfo) -> None:  # noqa: ANN401 - ships no types
        self.shortened = 0
        self._book = book
        self._units = units
        self._zone = zone
        self._formats: dict[str, Any] = {}
        self._bold = book.add_format({"bold": True})

    def write_mart(self, model: Model, pages: Iterator[Sequence[tuple[Any, ...]]]) -> int:
        """Write the sheet of a mart; return the number of its rows."""
        columns = list(model.columns)
        sheet = self._sheet(model.name, columns)
        currencies = _currency_columns(columns)
        number = 0
        for page in pages:
            for row in page:
                number += 1
                for index, (value, currency) in enumerate(zip(row, currencies, strict=True)):
                    code = None if currency is None else row[currency]
                    self._write(sheet, number, index, value, code)
        sheet.autofilter(0, 0, max(number, 1), len(columns) - 1)
        return number

    def write_changes(self, reader: WarehouseReader) -> int:
        """Write the sheet for changes, and the hidden one with the values as exported."""
        sheet = self._sheet(sheet_rows.SHEET, sheet_rows.COLUMNS)
        hidden = self._book.add_worksheet(sheet_rows.HIDDEN_SHEET)
        hidden.hide()
        run = last_proven_run(reader)
        head = sheet_rows.head_rows(bound_account(reader), run.run_id if run else None)
        for number, pair in enumerate(head):
            hidden.write_row(number, 0, pair)
        number = 0
        for id_, row in sheet_rows.changeable_rows(reader):
            number += 1
            image = row.image
            shown = (id_, row.project, image["currency"], image["title"], row.amount, row.day)
            for index, value in enumerate(shown):
                self._write(sheet, number, index, value, image["currency"])
            hidden.write_string(number + len(head) - 1, 0, id_)
            hidden.write_string(number + len(head) - 1, 1, row.stored())
        sheet.autofilter(0, 0, max(number, 1), len(sheet_rows.COLUMNS) - 1)
        return number

    def write_definitions(self, models: Sequence[Model], timezone: str) -> None:
        """Write the sheet that says what each mart and column means."""
        sheet = self._sheet("Definitions", ("sheet", "column", "meaning"))
        notes = [
            (sheet_rows.SHEET, "", "The milestones that can be changed. Change title, amount or "
             "date, give a reason, save, and run: milestones propose --from FILE.xlsx"),
            ("", "", f"Times are in the time zone {timezone}."),
            ("", "", f"An amount of more than {sheet_rows.EXACT_DIGITS} digits is a text, since "
             "Excel would round it. So are dates before March 1900."),
            ("", "", f"A text that is too long for a cell ends with {_CUT}."),
        ]  # fmt: skip
        for model in models:
            notes.append((model.name, "", model.about))
            notes += [(model.name, name, about) for name, about in model.columns.items()]
        notes += [(m.mart, m.name, f"Metric: {m.about} {m.sql()}") for m in metrics().values()]
        for number, row in enumerate(notes, start=1):
            for index, text in enumerate(row):
                sheet.write_string(number, index, text)

    def _sheet(self, name: str, columns: Sequence[str]) -> Any:  # noqa: ANN401 - ships no types
        """Return a new sheet of the workbook with a header that stays in view."""
        sheet = self._book.add_worksheet(name)
        sheet.freeze_panes(1, 0)
        for index, column in enumerate(columns):
            sheet.set_column(index, index, _WIDTHS.get(column, max(14, len(column) + 4)))
        for index, column in enumerate(columns):
            sheet.write_string(0, index, column, self._bold)
        return sheet

    def _write(self, sheet: Any, row: int, column: int, value: Any, currency: Any) -> None:  # noqa: ANN401 - ships no types
        """Write a value of any type to a cell of the workbook."""
        if value is None:
            return
        if isinstance(value, datetime) and value.date() > _EARLIEST:
            if value.tzinfo is not None:
                value = value.astimezone(self._zone).replace(tzinfo=None)
            sheet.write_datetime(row, column, value, self._format("yyyy-mm-dd hh:mm:ss"))
        elif isinstance(value, bool):
            sheet.write_boolean(row, column, value)
        elif type(value) is date and value >= _EARLIEST:
            sheet.write_datetime(row, column, value, self._format("yyyy-mm-dd"))
        elif isinstance(value, int) and abs(value) < 10**sheet_rows.EXACT_DIGITS:
            sheet.write_number(row, column, value)
        elif isinstance(value, Decimal):
            self._write_amount(sheet, row, column, value, currency)
        elif isinstance(value, float) and isfinite(value):
            sheet.write_number(row, column, value)
        else:
            sheet.write_string(row, column, self._text(str(value)))

    def _write_amount(self, sheet: Any, row: int, column: int, value: Decimal, code: Any) -> None:  # noqa: ANN401 - ships no types
        """Write an amount to a cell of the workbook, as text if a number would round it."""
        if not sheet_rows.is_exact(value):
            sheet.write_string(row, column, f"{value:f}")
            return
        unit = self._units.get(code)
        digits = value if unit is None else unit
        decimals = max(0, -int(digits.normalize().as_tuple().exponent))
        money = _MONEY + ("." + "0" * decimals if decimals else "")
        sheet.write_number(row, column, float(value), self._format(money))

    def _text(self, text: str) -> str:
        """Return a text that fits into a cell of the workbook."""
        text = sheet_rows.cell_text(text)
        if len(text) > sheet_rows.LONGEST_CELL:
            self.shortened += 1
            text = text[: sheet_rows.LONGEST_CELL - len(_CUT)] + _CUT
        return text

    def _format(self, number_format: str) -> Any:  # noqa: ANN401 - ships no types
        """Return the workbook's format for dates or numbers of one kind."""
        if number_format not in self._formats:
            self._formats[number_format] = self._book.add_format({"num_format": number_format})
        return self._formats[number_format]


def _currency_columns(columns: Sequence[str]) -> list[int | None]:
    """Return for each column of a sheet the one with the currency of its amounts, if there is one.

    Rates and exact amounts are shown with all their digits.
    """
    own = columns.index("currency") if "currency" in columns else None
    reporting = columns.index("reporting_currency") if "reporting_currency" in columns else None
    return [
        None
        if name.startswith(("rate_", "exact_"))
        else reporting
        if name.endswith("_reporting")
        else own
        for name in columns
    ]
