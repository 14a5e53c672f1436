"""Asking for changes: what is asked is checked at once, against what the warehouse shows."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import duckdb
import orjson
from dlt.destinations.exceptions import DatabaseException

from warehouse.change import OPEN, Action, Change, Draft, Image, Status, Value, twin
from warehouse.database import reason
from warehouse.errors import ChangeRefused
from warehouse.ledger import Ledger

from .live import IMAGE, image, invoiced
from .query import Query

WRITABLE = ("title", "amount_in_cents", "date_to_invoice", "billing_type", "story_id")
_FOR_CREATE = ("workspace_id", *WRITABLE)
_NEEDED = ("workspace_id", "title", "amount_in_cents")
_COLUMNS = ("action", "milestone_id", "id", *_FOR_CREATE, "reason")
_BILLING_TYPES = ("fixed_date", "upon_completion")
_INT32 = 2**31 - 1  # what Kantata declares; more is not sent
_AT_ONCE = 500


@dataclass(frozen=True)
class Ask:
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


@dataclass(frozen=True)
class Proposed:
    """What became of an ask.

    Args:
        change_id: The change; None if there is nothing to change.
        note: Why nothing new was proposed; empty if something was.
    """

    change_id: str | None
    note: str = ""


def one(action: Action, milestone_id: str | None, settings: Iterable[str], why: str) -> Ask:
    """An ask from the command line, where fields are ``NAME=VALUE``.

    Raises:
        ChangeRefused: If they are not.
    """
    fields: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not equals or name in fields:
            raise ChangeRefused(f"--set {setting}: write it as NAME=VALUE, each name once")
        fields[name.strip()] = value
    return Ask(action, milestone_id, fields, why)


def from_csv(path: Path, why: str) -> list[Ask]:
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
        raise ChangeRefused(f"{path}, line {reader.line_num}: {error}") from None
    return _asks(reader.fieldnames or (), rows, why, str(path))


def from_query(query: Query, sql: str, why: str) -> list[Ask]:
    """Asks from the warehouse; columns as in a file.

    Raises:
        ChangeRefused: If the query fails, or has columns nobody knows.
    """
    try:
        found = query.named(sql)
    except (duckdb.Error, DatabaseException) as error:
        raise ChangeRefused(f"the query failed: {reason(error)}") from None
    rows = [
        (f"row {number}", {n: "" if v is None else str(v) for n, v in row.items()})
        for number, row in enumerate(found, start=1)
    ]
    return _asks(list(found[0]) if found else _COLUMNS, rows, why, "the query")


def _asks(
    columns: Sequence[str], rows: list[tuple[str, dict[str, Any]]], why: str, source: str
) -> list[Ask]:
    if strange := [name for name in columns if name not in _COLUMNS]:
        raise ChangeRefused(
            f"{source}: no column may be called {', '.join(map(repr, strange))}. There are "
            f"{', '.join(_COLUMNS)}."
        )
    asks, problems = [], []
    for where, row in rows:
        try:
            asks.append(_ask(where, row, why))
        except ChangeRefused as error:
            problems.append(str(error))
    _raise_all(problems, source)
    return asks


def _ask(where: str, row: dict[str, Any], why: str) -> Ask:
    if "" in row or None in row.values():
        raise ChangeRefused(f"{where}: it has not as many values as there are columns")
    values = {name: value.strip() for name, value in row.items() if value.strip()}
    action = values.pop("action", Action.UPDATE.value)
    if action not in list(Action):
        raise ChangeRefused(f"{where}: the action {action!r} is none of create, update, delete")
    ids = {values.pop(name, "") for name in ("milestone_id", "id")} - {""}
    if len(ids) > 1:
        raise ChangeRefused(f"{where}: it names two milestones, {' and '.join(sorted(ids))}")
    return Ask(Action(action), next(iter(ids), None), values, values.pop("reason", why), where)


def propose(
    ledger: Ledger, query: Query, asks: Sequence[Ask], who: str, duplicate: bool = False
) -> list[Proposed]:
    """Check asks against the warehouse and write them to the ledger, all or none.

    Args:
        ledger: Where they go.
        query: The warehouse.
        asks: What is asked.
        who: Who asks.
        duplicate: Whether a create may be equal to another one.

    Returns:
        What became of each, in order.

    Raises:
        ChangeRefused: With one line for each that cannot be; nothing is proposed then.
    """
    facts = _Facts(query, asks)
    known = ledger.changes(OPEN | {Status.APPLIED})
    problems: list[str] = []
    results: list[Proposed | Draft] = []
    for ask in asks:
        try:
            if gone := _deleted_by(ask, known):
                results.append(Proposed(gone, "done already"))
                continue
            draft = _draft(ask, facts, who, duplicate)
            if same := _same(draft, known, in_a_file=bool(ask.where)):
                results.append(Proposed(same, "proposed already"))
                continue
            _check_twins(draft, facts)
            results.append(draft)
        except _NothingToDo as nothing:
            if not ask.where:
                raise ChangeRefused(str(nothing)) from None
            results.append(Proposed(None, f"{ask.where}: {nothing}"))
        except ChangeRefused as error:
            problems.append(f"{ask.where}: {error}" if ask.where else str(error))
    _raise_all(problems, "the changes" if len(asks) > 1 else "")
    drafts = [result for result in results if isinstance(result, Draft)]
    ids = iter(ledger.propose(drafts))
    return [Proposed(next(ids)) if isinstance(r, Draft) else r for r in results]


class _NothingToDo(Exception):
    """The warehouse shows already what is asked."""


def _deleted_by(ask: Ask, known: Sequence[Change]) -> str | None:
    """The change that has deleted what a line of a file asks to delete."""
    if not ask.where or ask.action is not Action.DELETE:
        return None
    done = (c for c in known if c.status is Status.APPLIED and c.action is Action.DELETE)
    return next((c.change_id for c in done if c.milestone_id == ask.milestone_id), None)


def _check_twins(draft: Draft, facts: _Facts) -> None:
    if draft.twin_key and (equal := facts.twins(draft.after)):
        raise ChangeRefused(
            f"project {draft.workspace_id} has an equal milestone, {', '.join(equal)}: "
            "--allow-duplicate if another one is meant"
        )


def _same(draft: Draft, known: Sequence[Change], in_a_file: bool) -> str | None:
    """The change that asks the same, if this one need not be proposed again."""
    if not in_a_file:
        return None  # a person who types it again is told
    for change in known:
        create = draft.action is Action.CREATE
        equal = change.action is draft.action and dict(change.after) == dict(draft.after)
        if not equal or not (create or change.milestone_id == draft.milestone_id):
            continue
        if create or change.status in OPEN:
            return change.change_id
    return None


def _draft(ask: Ask, facts: _Facts, who: str, duplicate: bool) -> Draft:
    if not ask.reason.strip():
        raise ChangeRefused("a reason is missing (--reason, or a column reason)")
    allowed = {
        Action.CREATE: _FOR_CREATE, Action.UPDATE: WRITABLE, Action.DELETE: (),
    }[ask.action]  # fmt: skip
    if strange := [name for name in ask.fields if name not in allowed]:
        raise ChangeRefused(_not_writable(strange[0], ask.action, allowed))
    after = {name: _value(name, text) for name, text in ask.fields.items()}
    if ask.action is Action.CREATE:
        return _create(ask, after, facts, who, duplicate)
    before = facts.milestone(ask.milestone_id)
    project = str(before["workspace_id"])
    if ask.action is Action.UPDATE:
        if not after:
            raise ChangeRefused("nothing is set: --set NAME=VALUE")
        after = {name: value for name, value in after.items() if before[name] != value}
        if not after:
            raise _NothingToDo(f"milestone {ask.milestone_id} is like that already")
        _check_story({**before, **after}, project, facts)
    if why := facts.invoiced(before):
        raise ChangeRefused(f"milestone {ask.milestone_id} cannot be changed: {why}")
    currency = before["currency"]
    return Draft(
        ask.action, ask.milestone_id, project, None if currency is None else str(currency),
        after, before, ask.reason.strip(), who,
    )  # fmt: skip


def _create(ask: Ask, after: dict[str, Value], facts: _Facts, who: str, duplicate: bool) -> Draft:
    if ask.milestone_id is not None:
        raise ChangeRefused(f"a create has no milestone_id, and {ask.milestone_id} is given")
    if lacking := [name for name in _NEEDED if name not in after]:
        raise ChangeRefused(f"{' and '.join(lacking)} must be set")
    project = str(after["workspace_id"])
    currency = facts.project(project)
    # What Kantata takes if none is given is not known, so it is always given.
    after.setdefault("billing_type", "fixed_date")
    _check_story(after, project, facts)
    return Draft(
        Action.CREATE, None, project, currency, after, {}, ask.reason.strip(), who, duplicate
    )


def _not_writable(name: str, action: Action, allowed: Sequence[str]) -> str:
    if action is Action.DELETE:
        return f"a delete sets nothing, and {name} is set"
    if name == "workspace_id":
        return "a milestone cannot be moved to another project: Kantata has no way to"
    return f"{name} cannot be written; these can: {', '.join(allowed)}"


def _value(name: str, text: str) -> Value:
    """A value as Kantata takes it.

    Raises:
        ChangeRefused: If it is none.
    """
    text = text.strip()
    if not text:
        raise ChangeRefused(f"{name} is empty: Kantata is not known to clear a field")
    if name == "amount_in_cents":
        if not re.fullmatch(r"-?[0-9]+", text) or abs(int(text)) > _INT32:
            raise ChangeRefused(
                f"amount_in_cents is {text!r}: write a whole number of the currency's smallest "
                f"unit, at most {_INT32}"
            )
        return int(text)
    if name == "date_to_invoice":
        try:
            if not re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", text):
                raise ValueError
            return date.fromisoformat(text).isoformat()
        except ValueError:
            raise ChangeRefused(
                f"date_to_invoice is {text!r}: write a real date as 2027-01-31"
            ) from None
    if name == "billing_type" and text not in _BILLING_TYPES:
        raise ChangeRefused(f"billing_type is {text!r}: there are {', '.join(_BILLING_TYPES)}")
    if name in ("story_id", "workspace_id") and not re.fullmatch(r"[0-9]+", text):
        raise ChangeRefused(f"{name} is {text!r}, not a number")
    return text


def _check_story(fields: Mapping[str, Value], project: str, facts: _Facts) -> None:
    story = fields.get("story_id")
    if fields.get("billing_type") == "upon_completion" and story is None:
        raise ChangeRefused("billing_type upon_completion needs a story_id")
    if story is not None and (of := facts.project_of_story(str(story))) not in (None, project):
        raise ChangeRefused(f"story_id {story} is a task of project {of}, not of {project}")


class _Facts:
    """What the warehouse shows of what is asked about."""

    def __init__(self, query: Query, asks: Sequence[Ask]) -> None:
        ids = {ask.milestone_id for ask in asks if ask.milestone_id}
        projects = {p for ask in asks if (p := ask.fields.get("workspace_id", "").strip())}
        columns = ", ".join(("id", *IMAGE, "deleted_at", "access_lost_at"))
        table = "kantata.billing_milestones"
        self._rows = {
            row["id"]: row
            for row in _of(query, f"select {columns} from {table} where id", ids)  # noqa: S608 - names of ours
        }
        self._twins = _of(
            query,
            f"select {columns} from {table} where deleted_at is null and workspace_id",  # noqa: S608 - names of ours
            projects,
        )
        self._projects = {
            row["id"]: row["currency"]
            for row in _of(query, "select id, currency from kantata.workspaces where id", projects)
        }
        stories = {s for ask in asks if (s := ask.fields.get("story_id", "").strip())}
        stories |= {str(row["story_id"]) for row in self._rows.values() if row["story_id"]}
        self._stories = {
            row["id"]: row["workspace_id"]
            for row in _of(query, "select id, workspace_id from kantata.stories where id", stories)
        }
        invoices = {
            id_
            for row in self._rows.values()
            for id_ in str(_image(row)["invoice_ids"] or "").split(",")
        }
        self._statuses = {
            row["id"]: row["status"]
            for row in _of(query, "select id, status from kantata.invoices where id", invoices)
        }

    def milestone(self, id_: str | None) -> Image:
        if not id_:
            raise ChangeRefused("milestone_id is missing")
        if (row := self._rows.get(id_)) is None:
            raise ChangeRefused(f"the warehouse knows no milestone {id_}")
        if row["deleted_at"] is not None:
            raise ChangeRefused(f"milestone {id_} is deleted")
        if row["access_lost_at"] is not None:
            raise ChangeRefused(f"milestone {id_} cannot be read any more: its project is hidden")
        return _image(row)

    def invoiced(self, found: Image) -> str:
        return invoiced(found, self._statuses)

    def project(self, id_: str) -> str | None:
        if id_ not in self._projects:
            raise ChangeRefused(f"the warehouse knows no project {id_}")
        currency = self._projects[id_]
        return None if currency is None else str(currency)

    def project_of_story(self, id_: str) -> str | None:
        project = self._stories.get(id_)
        return None if project is None else str(project)

    def twins(self, after: Image) -> list[str]:
        wanted = twin(after)
        return [row["id"] for row in self._twins if twin(_image(row)) == wanted]


def _image(row: Mapping[str, Any]) -> Image:
    """The warehouse's row as the wire would have it."""
    linked = row["invoice_ids"]
    day = row["date_to_invoice"]
    return image(
        {
            **row,
            "invoice_ids": orjson.loads(linked) if linked else None,
            "date_to_invoice": None if day is None else day.isoformat(),
        }
    )


def _of(query: Query, sql: str, ids: Iterable[str]) -> list[dict[str, Any]]:
    """The rows of these ids; what is no number has none, and never gets into the SQL."""
    numbers = sorted(id_ for id_ in ids if re.fullmatch(r"[0-9]+", id_))
    return [
        row
        for start in range(0, len(numbers), _AT_ONCE)
        for row in query.named(f"{sql} in ({_listed(numbers[start : start + _AT_ONCE])})")
    ]


def _listed(ids: Sequence[str]) -> str:
    return ", ".join(f"'{id_}'" for id_ in ids)


def _raise_all(problems: list[str], source: str) -> None:
    if problems:
        head = f"{source}: nothing was proposed. " if len(problems) > 1 or source else ""
        raise ChangeRefused(head + "; ".join(problems))
