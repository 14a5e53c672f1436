"""Change requests as they were typed: on the command line, in a file, or by a query."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Action
from warehouse.reader import QueryRefused, WarehouseReader

from .fields import FOR_CREATE

_COLUMNS = ("action", "milestone_id", "id", *FOR_CREATE, "reason")


@dataclass(frozen=True)
class ChangeRequest:
    """One change as it was typed.

    Args:
        action: create, update or delete.
        milestone_id: Which milestone; None for a create.
        fields: New values, as text.
        reason: Why.
        where: How to name it to a person, as ``line 3``; empty if there is only one.
    """

    action: Action
    milestone_id: str | None
    fields: Mapping[str, str]
    reason: str
    where: str = ""


class _Row(NamedTuple):
    """A row of a file or a query: how to name it, and its cells by column."""

    where: str
    cells: dict[str, Any]


def single_request(
    action: Action, *, milestone_id: str | None, assignments: Iterable[str], reason: str
) -> ChangeRequest:
    """A change request from the command line, where values are given as ``NAME=VALUE``.

    Raises:
        ChangeRefused: If they are not.
    """
    fields: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or name.strip() in fields:
            raise ChangeRefused(f"--set {assignment}: write it as NAME=VALUE, each name once")
        fields[name.strip()] = value
    return ChangeRequest(action, milestone_id, fields, reason)


def requests_from_csv(path: Path, reason: str) -> list[ChangeRequest]:
    """Change requests from a file; columns as in the README.

    Args:
        path: The file.
        reason: Why, for lines that give no reason.

    Raises:
        ChangeRefused: If it cannot be read, or has columns nobody knows.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ChangeRefused(f"cannot read {path}: {error}. It must be CSV in UTF-8.") from None
    header = text.partition("\n")[0]
    reader = csv.DictReader(
        io.StringIO(text, newline=""),
        delimiter=";" if ";" in header and "," not in header else ",",
        restkey="",
        strict=True,
    )
    try:
        rows = [_Row(f"line {reader.line_num}", cells) for cells in reader]
    except csv.Error as error:
        raise ChangeRefused(f"{path}, line {reader.reader.line_num}: {error}") from None
    requests = _requests(reader.fieldnames or (), rows, reason=reason, source=str(path))
    if not requests:
        raise ChangeRefused(f"{path} holds no changes: was it cut off when it was exported?")
    return requests


def requests_from_query(reader: WarehouseReader, sql: str, reason: str) -> list[ChangeRequest]:
    """Change requests from the warehouse; columns as in a file.

    Args:
        reader: The warehouse.
        sql: One query that somebody wrote.
        reason: Why, for rows that give no reason.

    Raises:
        ChangeRefused: If the query fails, or has columns nobody knows.
    """
    try:
        columns, found = reader.run_untrusted(sql)
    except QueryRefused as error:
        raise ChangeRefused(f"the query failed: {error}") from None
    rows = [
        _Row(f"row {number}", dict(zip(columns, map(_text, row), strict=True)))
        for number, row in enumerate(found, start=1)
    ]
    requests = _requests(columns, rows, reason=reason, source="the query")
    if not requests:
        raise ChangeRefused("the query selects no rows, so there is nothing to propose")
    return requests


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _requests(
    columns: Sequence[str], rows: Sequence[_Row], *, reason: str, source: str
) -> list[ChangeRequest]:
    _check_columns(columns, source)
    requests, problems = [], []
    for row in rows:
        try:
            requests.append(_request(row, reason))
        except ChangeRefused as error:
            problems.append(str(error))
    refuse_problems(problems, f"{source}: nothing was proposed")
    return requests


def _check_columns(columns: Sequence[str], source: str) -> None:
    if unknown := [name for name in columns if name not in _COLUMNS]:
        raise ChangeRefused(
            f"{source}: no column may be called {', '.join(map(repr, unknown))}. There are "
            f"{', '.join(_COLUMNS)}."
        )
    if twice := [name for name in dict.fromkeys(columns) if columns.count(name) > 1]:
        raise ChangeRefused(
            f"{source}: {' and '.join(map(repr, twice))} is a column more than once, so it is not "
            "known which one counts"
        )


def _request(row: _Row, reason: str) -> ChangeRequest:
    where = row.where
    if "" in row.cells or None in row.cells.values():
        raise ChangeRefused(f"{where}: it has not as many values as there are columns")
    values = {name: value.strip() for name, value in row.cells.items() if value.strip()}
    action = values.pop("action", Action.UPDATE.value)
    if action not in list(Action):
        raise ChangeRefused(f"{where}: the action {action!r} is none of create, update, delete")
    ids = {values.pop(name, "") for name in ("milestone_id", "id")} - {""}
    if len(ids) > 1:
        raise ChangeRefused(f"{where}: it names two milestones, {' and '.join(sorted(ids))}")
    reason = values.pop("reason", reason)
    return ChangeRequest(Action(action), next(iter(ids), None), values, reason, where)


def refuse_problems(problems: Sequence[str], heading: str) -> None:
    """Refuse what has problems, with a line for each.

    Args:
        problems: What is wrong.
        heading: The line above; empty if there can be only one problem.

    Raises:
        ChangeRefused: If there are any.
    """
    if problems:
        raise ChangeRefused("\n  ".join([f"{heading}:", *problems] if heading else problems))
