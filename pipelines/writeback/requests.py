"""What is asked, as it was typed: on the command line, in a file, or by a query."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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
        where: How to name it to whoever asks, as ``line 3``; empty if there is only one.
    """

    action: Action
    milestone_id: str | None
    fields: Mapping[str, str]
    reason: str
    where: str = ""


def single_request(
    action: Action, milestone_id: str | None, settings: Iterable[str], why: str
) -> ChangeRequest:
    """An ask from the command line, where fields are ``NAME=VALUE``.

    Raises:
        ChangeRefused: If they are not.
    """
    fields: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or name.strip() in fields:
            raise ChangeRefused(f"--set {setting}: write it as NAME=VALUE, each name once")
        fields[name.strip()] = value
    return ChangeRequest(action, milestone_id, fields, why)


def from_csv(path: Path, why: str) -> list[ChangeRequest]:
    """Asks from a file; columns as in the README.

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
        rows = [(f"line {reader.line_num}", row) for row in reader]
    except csv.Error as error:
        raise ChangeRefused(f"{path}, line {reader.reader.line_num}: {error}") from None
    asks = _requests(reader.fieldnames or (), rows, why, str(path))
    if not asks:
        raise ChangeRefused(f"{path} holds no changes: was it cut off when it was exported?")
    return asks


def from_query(query: WarehouseReader, sql: str, why: str) -> list[ChangeRequest]:
    """Asks from the warehouse; columns as in a file.

    Raises:
        ChangeRefused: If the query fails, or has columns nobody knows.
    """
    try:
        columns, found = query.run_untrusted(sql)
    except QueryRefused as error:
        raise ChangeRefused(f"the query failed: {error}") from None
    rows = [
        (f"row {number}", dict(zip(columns, map(_text, row), strict=True)))
        for number, row in enumerate(found, start=1)
    ]
    asks = _requests(columns, rows, why, "the query")
    if not asks:
        raise ChangeRefused("the query selects no rows, so there is nothing to propose")
    return asks


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _requests(
    columns: Sequence[str], rows: list[tuple[str, dict[str, Any]]], why: str, source: str
) -> list[ChangeRequest]:
    if strange := [name for name in columns if name not in _COLUMNS]:
        raise ChangeRefused(
            f"{source}: no column may be called {', '.join(map(repr, strange))}. There are "
            f"{', '.join(_COLUMNS)}."
        )
    if twice := [name for name in dict.fromkeys(columns) if columns.count(name) > 1]:
        raise ChangeRefused(
            f"{source}: {' and '.join(map(repr, twice))} is a column more than once, so it is not "
            "known which one counts"
        )
    asks, problems = [], []
    for where, row in rows:
        try:
            asks.append(_request(where, row, why))
        except ChangeRefused as error:
            problems.append(str(error))
    refuse_problems(problems, f"{source}: nothing was proposed")
    return asks


def _request(where: str, row: dict[str, Any], why: str) -> ChangeRequest:
    if "" in row or None in row.values():
        raise ChangeRefused(f"{where}: it has not as many values as there are columns")
    values = {name: value.strip() for name, value in row.items() if value.strip()}
    action = values.pop("action", Action.UPDATE.value)
    if action not in list(Action):
        raise ChangeRefused(f"{where}: the action {action!r} is none of create, update, delete")
    ids = {values.pop(name, "") for name in ("milestone_id", "id")} - {""}
    if len(ids) > 1:
        raise ChangeRefused(f"{where}: it names two milestones, {' and '.join(sorted(ids))}")
    return ChangeRequest(
        Action(action), next(iter(ids), None), values, values.pop("reason", why), where
    )


def refuse_problems(problems: Sequence[str], head: str) -> None:
    """Refuse what has problems, with a line for each.

    Args:
        problems: What is wrong.
        head: What to say above; empty if there can be only one problem.

    Raises:
        ChangeRefused: If there are any.
    """
    if problems:
        raise ChangeRefused("\n  ".join([f"{head}:", *problems] if head else problems))
