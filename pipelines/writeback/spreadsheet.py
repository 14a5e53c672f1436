"""Reading the sheet *Changes* of an edited workbook into change requests.

A hidden sheet keeps the values at export. A cell is a change if it differs from them, whatever the
warehouse holds by now, so an old workbook does not undo what others did since.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from datetime import date, datetime, time
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

import openpyxl

from warehouse.account import AccountBinding
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Action

from .fields import plain_id
from .requests import ChangeRequest, refuse_problems
from .sheet_rows import (
    COLUMNS,
    EXACT_DIGITS,
    FORMAT,
    HEAD,
    HIDDEN_SHEET,
    SHEET,
    SheetRow,
    cell_text,
    is_exact,
)

_ISO_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_AGAIN = "export it again with `milestones export`, and copy your changes"


class _Cell(NamedTuple):
    """A cell of the sheet: its value, and why it has none that can be used; empty if it has."""

    value: Any
    problem: str = ""


class _Problem(Exception):
    """What is wrong with a cell of the sheet."""


def requests_from_workbook(
    path: Path, reason: str, account: AccountBinding | None
) -> list[ChangeRequest]:
    """Read change requests from the sheet *Changes* of a workbook that was exported.

    Args:
        path: The workbook.
        reason: The reason for changed rows without one.
        account: The account of the warehouse; None if it is not bound.

    Raises:
        ChangeRefused: If it is no such workbook, or belongs to another account, or a row is wrong.
    """
    with _readable(path):
        exported = _exported_rows(path, account)
        rows = list(_sheet_rows(path))
    requests: list[ChangeRequest] = []
    problems: list[str] = []
    seen: dict[str, int] = {}
    for number, cells in rows:
        try:
            if (request := _row_request(number, cells, exported, seen)) is not None:
                requests.append(request if request.reason else _with_reason(request, reason))
        except ChangeRefused as error:
            problems.extend(f"row {number}, {line}" for line in map(str, error.args))
    refuse_problems(problems, f"{path}: nothing was proposed")
    if not requests:
        raise ChangeRefused(
            f"{path}: no cell of the sheet {SHEET} was changed, so there is nothing to propose"
        )
    return requests


def _with_reason(request: ChangeRequest, reason: str) -> ChangeRequest:
    """Return a change request with the reason of the command; refuse it without one."""
    if not reason.strip():
        raise ChangeRefused(
            f"column reason: milestone {request.milestone_id} was changed without a reason: "
            "write one, or add --reason"
        )
    return ChangeRequest(
        request.action, request.milestone_id, request.fields, reason, request.where, request.seen
    )


def _exported_rows(path: Path, account: AccountBinding | None) -> dict[str, SheetRow]:
    """Return the values at export by milestone; refuse the workbook of another account."""
    with closing(_opened(path, data_only=True)) as book:
        if HIDDEN_SHEET not in book.sheetnames or SHEET not in book.sheetnames:
            missing = SHEET if SHEET not in book.sheetnames else HIDDEN_SHEET
            raise ChangeRefused(
                f"{path} has no sheet {missing}, so it is not known what was changed: {_AGAIN}"
            )
        sheet = book[HIDDEN_SHEET]
        sheet.reset_dimensions()
        rows = sheet.iter_rows(max_col=2, values_only=True)
        try:
            head = {str(row[0]): str(row[1] or "") for row in (next(rows) for _ in HEAD)}
            if tuple(head) != HEAD or head["format"] != FORMAT:
                raise ValueError
            exported = {str(row[0]): SheetRow.restored(str(row[1])) for row in rows if row[0]}
        except (
            ValueError,
            KeyError,
            TypeError,
            StopIteration,
            IndexError,
            RuntimeError,
            ArithmeticError,
        ):
            raise ChangeRefused(
                f"{path}: the sheet {HIDDEN_SHEET} is not as it was exported: {_AGAIN}"
            ) from None
    of = AccountBinding(head["address"], head["account_id"] or None) if head["address"] else None
    if (of is None) != (account is None) or (of and account and not of.is_same_account(account)):
        raise ChangeRefused(
            f"{path} was exported from {of or 'a warehouse of no account'}, but this warehouse "
            f"belongs to {account or 'no account'}"
        )
    return exported


def _opened(path: Path, *, data_only: bool) -> Any:  # noqa: ANN401 - openpyxl ships no types
    """Open a workbook for reading; openpyxl would leave the file of a damaged one open."""
    content = io.BytesIO(path.read_bytes())
    return openpyxl.load_workbook(content, read_only=True, data_only=data_only)


@contextmanager
def _readable(path: Path) -> Iterator[None]:
    """Refuse a workbook that cannot be read: openpyxl raises errors of many kinds."""
    try:
        yield
    except (ChangeRefused, MemoryError):
        raise
    except FileNotFoundError:
        raise ChangeRefused(f"there is no file {path}: check its name and its folder") from None
    except Exception as error:
        why = getattr(error, "strerror", None) or "it is damaged, or has a password"
        raise ChangeRefused(
            f"cannot read {path} as a workbook: {why}. Save it in Excel as .xlsx"
        ) from None


def _sheet_rows(path: Path) -> Iterator[tuple[int, dict[str, _Cell]]]:
    """Yield the number and the cells of each row of the sheet that is not empty."""
    with (
        closing(_opened(path, data_only=True)) as values,
        closing(_opened(path, data_only=False)) as formulas,
    ):
        sheets = values[SHEET], formulas[SHEET]
        for sheet in sheets:
            sheet.reset_dimensions()
        columns: dict[str, int] = {}
        for number, (row, source) in enumerate(
            zip(sheets[0].iter_rows(), sheets[1].iter_rows(), strict=False), start=1
        ):
            if number == 1:
                columns = _columns(path, [cell.value for cell in row])
                continue
            cells = {name: _cell(row, source, index) for name, index in columns.items()}
            if any(cell.value is not None or cell.problem for cell in cells.values()):
                yield number, cells


def _columns(path: Path, header: list[Any]) -> dict[str, int]:
    """Return the place of each column in the sheet; refuse a header without all of them."""
    names = [str(name).strip() for name in header]
    if wrong := [name for name in COLUMNS if names.count(name) != 1]:
        raise ChangeRefused(
            f"{path}: row 1 of the sheet {SHEET} must have the columns {', '.join(COLUMNS)}, each "
            f"once; it does not for {', '.join(wrong)}"
        )
    return {name: names.index(name) for name in COLUMNS}


def _cell(row: Any, source: Any, index: int) -> _Cell:  # noqa: ANN401 - openpyxl ships no types
    """Return a cell of the sheet, from its row of values and its row of formulas."""
    if index >= len(row):
        return _Cell(None)
    value = row[index].value
    if row[index].data_type == "e":
        return _Cell(None, f"it has the error {value}")
    if value is None and index < len(source) and source[index].data_type == "f":
        return _Cell(None, "it has a formula without a value: save the workbook in Excel")
    if isinstance(value, str):
        # How a workbook writes a text such as `_x0041_`, which openpyxl does not always undo.
        value = value.replace("_x005F_", "_") if value.strip() else None
    return _Cell(value)


def _row_request(
    number: int, cells: Mapping[str, _Cell], exported: Mapping[str, SheetRow], seen: dict[str, int]
) -> ChangeRequest | None:
    """Return the change request of a row of the sheet; None if nothing in it was changed."""
    id_ = _id(cells["milestone_id"])
    if id_ not in exported:
        raise ChangeRefused(
            f"column milestone_id: {id_!r} was not exported: correct it, or remove the row"
        )
    if id_ in seen:
        raise ChangeRefused(
            f"column milestone_id: {id_} is already in row {seen[id_]}: remove one of the rows"
        )
    seen[id_] = number
    was = exported[id_]
    problems: list[str] = []
    found: dict[str, str] = {}
    for name, compare in _COMPARED.items():
        try:
            if (text := compare(cells[name], was)) is not None:
                found[_FIELDS.get(name, name)] = text
        except _Problem as problem:
            problems.append(f"column {name}: {problem}")
    if problems:
        raise ChangeRefused(*problems)
    if not found:
        return None
    reason = "" if cells["reason"].value is None else str(cells["reason"].value)
    return ChangeRequest(Action.UPDATE, id_, found, reason, f"row {number}", seen=was.image)


def _id(cell: _Cell) -> str:
    """Return the id in a cell of the sheet, also if a spreadsheet made it a number."""
    if cell.problem:
        raise ChangeRefused(f"column milestone_id: {cell.problem}")
    value = cell.value
    if value is None:
        raise ChangeRefused(
            "column milestone_id: it is empty. Fill in the id, or remove the row; new milestones "
            "are proposed from a CSV file"
        )
    if isinstance(value, float) and value.is_integer() and abs(value) < 10**EXACT_DIGITS:
        value = int(value)
    return plain_id(str(value))


def _given(cell: _Cell, was: object) -> Any:  # noqa: ANN401 - a cell's
    """Return the value of a cell of the sheet; refuse one that has none that can be used."""
    if cell.problem:
        raise _Problem(cell.problem)
    if cell.value is None and was not in (None, ""):
        raise _Problem(
            "it was emptied. Write a value, since Kantata may not clear a field, or restore "
            f"{was!s:.40}"
        )
    return cell.value


def _changed_title(cell: _Cell, was: SheetRow) -> str | None:
    """Return the new title in a cell of the sheet; None if it is as it was exported."""
    title = cell_text(str(was.image["title"] or ""))
    value = _given(cell, title.strip())
    if value is None or str(value).strip() == title.strip():
        return None
    if not isinstance(value, str):
        raise _Problem(f"{value} is not a text: format the cell as text, and write it again")
    return value


def _changed_amount(cell: _Cell, was: SheetRow) -> str | None:
    """Return the new amount in a cell of the sheet; None if it is as it was exported."""
    value = _given(cell, was.amount)
    if value is None:
        return None
    has_text = was.amount is not None and not is_exact(was.amount)
    if has_text and isinstance(value, str) and value.strip() == f"{was.amount:f}":
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise _Problem(f"{value!r:.40} is not a number: write it as one, without a currency")
    # As Excel shows it: what it computes has more digits, which are noise.
    amount = Decimal(f"{value:.{EXACT_DIGITS}g}")
    return None if amount == was.amount else f"{amount:f}"


def _changed_day(cell: _Cell, was: SheetRow) -> str | None:
    """Return the new date in a cell of the sheet; None if it is as it was exported."""
    value = _given(cell, was.day)
    if value is None:
        return None
    if was.day is not None and value == was.day.isoformat():
        return None  # a text, since Excel has no such date
    if isinstance(value, str) and _ISO_DAY.fullmatch(value.strip()):
        with suppress(ValueError):  # such as 2027-02-30
            value = date.fromisoformat(value.strip())
    if isinstance(value, datetime):
        if value.time() != time():
            raise _Problem(f"{value} has a time of day: write the date alone")
        value = value.date()
    if not isinstance(value, date):
        raise _Problem(
            f"{value!r:.40} is not a date for Excel: write it as your Excel shows dates, and "
            "format the cell as a date; or write 2027-01-31"
        )
    return None if value == was.day else value.isoformat()


def _unchanged(name: str) -> Any:  # noqa: ANN401 - a function
    """Return a function that refuses a change of a column of the sheet that cannot be written."""

    def compare(cell: _Cell, was: SheetRow) -> None:
        text = cell_text(str((was.project if name == "project" else was.image[name]) or ""))
        if cell.problem or str(cell.value or "").strip() != text.strip():
            raise _Problem(f"it cannot be changed: restore {text!r:.40}")

    return compare


_FIELDS = {"date": "date_to_invoice"}
_COMPARED = {
    "project": _unchanged("project"),
    "currency": _unchanged("currency"),
    "title": _changed_title,
    "amount": _changed_amount,
    "date": _changed_day,
}
