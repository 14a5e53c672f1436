"""Change requests as people write them: on the command line, in a CSV file, or by a query."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any, NamedTuple

from pipelines.runtime.csv_file import UnreadableCsv, read_csv
from warehouse.database import QueryResult
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Action, Image
from warehouse.proposer_query import QueryRefused

from .fields import FOR_CREATE, plain_id

_COLUMNS = ("action", "milestone_id", "id", *FOR_CREATE, "currency", "reason")
_OTHER_NAMES = {"date": "date_to_invoice", "duedate": "date_to_invoice"}
_NEARLY = 0.8  # of difflib's ratio: `titel` is nearly `title`, `invoice_date` is another column


@dataclass(frozen=True)
class ChangeRequest:
    """One change as a person wrote it.

    Args:
        action: Create, update or delete.
        milestone_id: The id of the milestone; None for a create.
        fields: The new values as text, by field.
        reason: The reason for the change.
        where: Its place in a file or query, such as ``line 3``; empty if it is a single request.
        seen: The milestone as the proposer saw it; None if it is as in the warehouse now.
        currency: The currency that its amounts are meant in; empty if it is not said.
    """

    action: Action
    milestone_id: str | None
    fields: Mapping[str, str]
    reason: str
    where: str = ""
    seen: Image | None = None
    currency: str = ""


class _Row(NamedTuple):
    """A row of a file or a query: its place, and its cells by column."""

    where: str
    cells: dict[str, Any]


def single_request(
    action: Action, *, milestone_id: str | None, assignments: Iterable[str], reason: str
) -> ChangeRequest:
    """Build a change request from the command line, where fields are written as ``NAME=VALUE``.

    Raises:
        ChangeRefused: If a field is not written like that, or twice.
    """
    fields: dict[str, str] = {}
    for assignment in assignments:
        name, equals, value = assignment.partition("=")
        if not equals or name.strip() in fields:
            raise ChangeRefused(f"--set {assignment}: write it as NAME=VALUE, each name once")
        fields[name.strip()] = value
    id_ = None if milestone_id is None else plain_id(milestone_id)
    return ChangeRequest(action, id_, fields, reason)


def requests_from_csv(
    path: Path, reason: str, note: Callable[[Sequence[str]], None] = lambda _: None
) -> list[ChangeRequest]:
    """Read change requests from a CSV file; the README lists its columns.

    Args:
        path: The file.
        reason: The reason for lines without one.
        note: Receives the names of the columns that were ignored, if there are any.

    Raises:
        ChangeRefused: If it cannot be read, or has wrong columns or lines.
    """
    try:
        columns, found = read_csv(path, _COLUMNS)
    except UnreadableCsv as error:
        raise ChangeRefused(*error.args) from None
    ignored = _ignored_columns(columns, str(path))
    rows = [
        _Row(f"line {line}", {n: c for n, c in zip(columns, cells, strict=True) if n in _COLUMNS})
        for line, cells in found
    ]
    used = [name for name in columns if name in _COLUMNS]
    requests = _requests(used, rows, reason=reason, source=str(path))
    if not requests:
        raise ChangeRefused(f"{path} holds no changes: check that its export is complete")
    if ignored:
        note(ignored)
    return requests


def _ignored_columns(columns: Sequence[str], source: str) -> list[str]:
    """Return the columns of a file that are not used; refuse those that are nearly one of ours."""
    ignored = [name for name in columns if name not in _COLUMNS]
    problems = [
        f"the column {name!r} is unknown: call it {meant}, or give it quite another name"
        for name in ignored
        if (meant := _nearly(name))
    ]
    refuse_problems(problems, f"{source}: nothing was proposed")
    if columns and not {"action", *FOR_CREATE} & set(columns):
        others = f" It has {', '.join(map(repr, columns))}." if columns else ""
        raise ChangeRefused(
            f"{source}: no column says what to change: add {', '.join(FOR_CREATE)} or "
            f"action.{others}"
        )
    return ignored


def _nearly(name: str) -> str:
    """Return the column that the name of a column probably means; empty if it means another."""
    names = {_letters(known): known for known in _COLUMNS} | _OTHER_NAMES
    for part in (name, *re.split(r"[,;\t|]", name)):
        if found := difflib.get_close_matches(_letters(part), names, n=1, cutoff=_NEARLY):
            return names[found[0]]
    return ""


def _letters(name: str) -> str:
    """Return the name of a column in small letters, without spaces and signs."""
    return re.sub(r"[\W_]", "", name).lower()


def requests_from_query(
    run: Callable[[str], QueryResult], sql: str, reason: str
) -> list[ChangeRequest]:
    """Read change requests from a query of the warehouse; its columns are those of a file.

    Args:
        run: Runs a query on the warehouse.
        sql: One select, written by a person.
        reason: The reason for rows without one.

    Raises:
        ChangeRefused: If the query fails, or has unknown columns or wrong rows.
    """
    try:
        columns, found = run(sql)
    except QueryRefused as error:
        raise ChangeRefused(f"the query failed: {error}") from None
    rows, problems = [], []
    for number, row in enumerate(found, start=1):
        try:
            cells = {name: _text(name, value) for name, value in zip(columns, row, strict=True)}
            rows.append(_Row(f"row {number}", cells))
        except ChangeRefused as error:
            problems.append(f"row {number}: {error}")
    refuse_problems(problems, "the query: nothing was proposed")
    requests = _requests(columns, rows, reason=reason, source="the query")
    if not requests:
        raise ChangeRefused("the query selects no rows, so there is nothing to propose")
    return requests


def _text(name: str, value: object) -> str:
    """Return a cell of a change request as text, empty for null; refuse what has no plain text."""
    if value is None:
        return ""
    if isinstance(value, bool) or not isinstance(value, (str, int, float, Decimal, date)):
        raise ChangeRefused(
            f"{name} is {value!r}, which is neither a text nor a number nor a date: cast it in the "
            "query"
        )
    return f"{value:f}" if isinstance(value, Decimal) else str(value)


def _requests(
    columns: Sequence[str], rows: Sequence[_Row], *, reason: str, source: str
) -> list[ChangeRequest]:
    """Return a change request for each row; refuse all if one is invalid, with each reason."""
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
    """Refuse columns of change requests that are unknown or given more than once."""
    if unknown := [name for name in columns if name not in _COLUMNS]:
        raise ChangeRefused(
            f"{source}: the column {', '.join(map(repr, unknown))} is unknown. Use "
            f"{', '.join(_COLUMNS)}."
        )
    if twice := [name for name in dict.fromkeys(columns) if columns.count(name) > 1]:
        raise ChangeRefused(
            f"{source}: {' and '.join(map(repr, twice))} is a column more than once: keep "
            "one of them"
        )


def _request(row: _Row, reason: str) -> ChangeRequest:
    """Return the change request of a row; refuse an invalid one with its place."""
    where = row.where
    values = {name: value.strip() for name, value in row.cells.items() if value.strip()}
    action = values.pop("action", Action.UPDATE.value)
    if action not in list(Action):
        raise ChangeRefused(f"{where}: the action is {action!r}; use create, update or delete")
    try:
        ids = {plain_id(values.pop(name, "")) for name in ("milestone_id", "id")} - {""}
    except ChangeRefused as error:
        raise ChangeRefused(f"{where}: {error}") from None
    if len(ids) > 1:
        raise ChangeRefused(f"{where}: it names two milestones, {' and '.join(sorted(ids))}")
    return ChangeRequest(
        action=Action(action),
        milestone_id=next(iter(ids), None),
        reason=values.pop("reason", reason),
        currency=values.pop("currency", ""),
        fields=values,
        where=where,
    )


def refuse_problems(problems: Sequence[str], heading: str) -> None:
    """Raise one error with a line for each problem of change requests; do nothing without one.

    Args:
        problems: The problems, a line each.
        heading: The line above them; empty if there can be only one problem.

    Raises:
        ChangeRefused: If there are problems.
    """
    if problems:
        raise ChangeRefused(*([f"{heading}:"] if heading else []), *problems)
