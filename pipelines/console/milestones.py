"""Pages and files with milestones: the list, and one with its versions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any
from urllib.parse import urlencode

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from warehouse import milestone_list
from warehouse.lookup import milestones_by_id
from warehouse.milestone_list import PAGE, SORTS, MilestoneFilter, Version

from .access import viewed
from .open_changes import open_change_of
from .proposal_form import proposal_form
from .roles import Identity, Role
from .services import Console
from .view_text import field_name

_LONGEST = 200  # characters of a filter
_STATUSES = ("due", "overdue", "later", "scheduled", "backlog", "unscheduled", "invoiced")
STATUS_WORDS = {
    "due": "to invoice now",
    "overdue": "overdue",
    "later": "scheduled later",
    "scheduled": "scheduled",
    "backlog": "all not invoiced with a date",
    "unscheduled": "unscheduled",
    "invoiced": "invoiced",
}
_MONTH = re.compile(r"(?!0000)([0-9]{4})-(0[1-9]|1[0-2])")
_ID = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True)
class ListAddress:
    """The address of a list of milestones, and of lists like it.

    Args:
        wanted: What the list shows.
    """

    wanted: MilestoneFilter

    def query(self, **changes: object) -> str:
        """Return the query of the list's address, with some parameters changed."""
        found = self.wanted
        values: dict[str, object] = {
            "q": found.text,
            "project": found.project,
            "client": found.client,
            "status": found.status,
            "currency": found.currency,
            "month": f"{found.month:%Y-%m}" if found.month else "",
            "sort": found.sort if found.sort != "date" else "",
            "order": "desc" if found.is_descending else "",
            "page": found.page if found.page > 1 else "",
        } | changes
        return urlencode({name: value for name, value in values.items() if value})

    def sorted_by(self, column: str) -> str:
        """Return the query of the same list sorted by a column; the other way if it is already."""
        is_turned = self.wanted.sort == column and not self.wanted.is_descending
        return self.query(sort=column, order="desc" if is_turned else "", page="")

    def page(self, number: int) -> str:
        """Return the query of another page of the same list."""
        return self.query(page=number if number > 1 else "")

    def file(self) -> str:
        """Return the query of the files with all rows of the list."""
        return self.query(page="")


def wanted_milestones(request: Request) -> MilestoneFilter:
    """Return which milestones an address asks for.

    Raises:
        HTTPException: If it has a value that no list has.
    """
    given = {name: value.strip()[:_LONGEST] for name, value in request.query_params.items()}
    status, sort, month = given.get("status", ""), given.get("sort") or "date", given.get("month")
    page = given.get("page") or "1"
    if status and status not in _STATUSES:
        raise _wrong("status", status, ", ".join(_STATUSES))
    if sort not in SORTS:
        raise _wrong("sort", sort, ", ".join(SORTS))
    if month and not _MONTH.fullmatch(month):
        raise _wrong("month", month, "a month such as 2027-01")
    if not re.fullmatch(r"[1-9][0-9]{0,6}", page):
        raise _wrong("page", page, "a whole number from 1")
    if wrong := [name for name, value in given.items() if "\0" in value]:
        raise _wrong(wrong[0], "a text with a null character", "a text without it")
    return MilestoneFilter(
        text=given.get("q", ""),
        project=given.get("project", ""),
        client=given.get("client", ""),
        status=status,
        currency=given.get("currency", ""),
        month=date.fromisoformat(f"{month}-01") if month else None,
        sort=sort,
        is_descending=given.get("order") == "desc",
        page=int(page),
    )


def _wrong(name: str, value: str, instead: str) -> HTTPException:
    """Return the error for a wrong parameter of a list's address."""
    return HTTPException(400, f"{name} is {value!r} in this address: use {instead}.")


def _list(console: Console, request: Request, _identity: Identity) -> Response:
    """Return the list of milestones."""
    wanted = wanted_milestones(request)
    with console.readers.open() as reader:
        built = console.built(reader)
        page = milestone_list.list_page(reader, wanted)
        currencies = milestone_list.currencies(reader)
        decimals = console.decimals(reader)
    found = sum(total.milestones for total in page.totals)
    return console.page(
        request,
        "milestones.html",
        built=built,
        wanted=wanted,
        address=ListAddress(wanted),
        rows=page.rows,
        totals=page.totals,
        found=found,
        pages=max(1, -(-found // PAGE)),
        first=PAGE * (wanted.page - 1) + 1,
        currencies=currencies,
        decimals=decimals,
        statuses=STATUS_WORDS,
        month=f"{wanted.month:%Y-%m}" if wanted.month else "",
        is_filtered=bool(ListAddress(wanted).query(page="", sort="", order="")),
    )


@dataclass(frozen=True)
class Difference:
    """What differs between two versions of a milestone: a field, before and after."""

    name: str
    before: Any
    after: Any


@dataclass(frozen=True)
class Step:
    """A step of a milestone's timeline.

    Args:
        version: The version.
        differences: What differs from the version before.
    """

    version: Version
    differences: Sequence[Difference]


def timeline(versions: Sequence[Version]) -> list[Step]:
    """Return the versions of a milestone with their differences, the newest first.

    Args:
        versions: The versions, the newest first.
    """
    names = ("title", "amount", "currency", "date_to_invoice", "invoice_id")
    steps = []
    for version, before in zip(versions, [*versions[1:], None], strict=True):
        differences = [
            Difference(field_name(name), getattr(before, name), getattr(version, name))
            for name in names
            if before is not None and getattr(before, name) != getattr(version, name)
        ]
        steps.append(Step(version, differences))
    return steps


def _one(console: Console, request: Request, identity: Identity) -> Response:
    """Return the page of one milestone."""
    return milestone_page(console, request, identity, str(request.path_params["id"]))


def milestone_page(
    console: Console,
    request: Request,
    identity: Identity,
    id_: str,
    *,
    given: dict[str, str] | None = None,
    problems: Sequence[str] = (),
) -> Response:
    """Return the page of one milestone.

    Args:
        console: The console.
        request: The request.
        identity: The person who asks.
        id_: The milestone's id.
        given: The fields of a proposal that was refused.
        problems: Why it was refused.

    Raises:
        HTTPException: If there is no such milestone.
    """
    if not _ID.fullmatch(id_):
        raise HTTPException(404, f"There is no milestone {id_[:40]!r}.")
    with console.readers.open() as reader:
        built = console.built(reader)
        versions = milestone_list.versions(reader, id_)
        if not versions:
            raise HTTPException(
                404, f"There is no milestone {id_} in the warehouse. Check its id in Kantata."
            )
        details = milestone_list.details(reader, id_)
        row = milestones_by_id(reader, [id_]).get(id_)
        decimals = console.decimals(reader)
        change = open_change_of(console, reader, identity, id_)
        form = None
        if row is not None and identity.role.may(Role.PROPOSER) and change is None:
            form = proposal_form(reader, row, given or {})
    return console.page(
        request,
        "milestone.html",
        status=422 if problems else 200,
        built=built,
        id=id_,
        row=row,
        details=details,
        steps=timeline(versions),
        latest=versions[0],
        decimals=decimals,
        change=change,
        form=form,
        problems=problems,
    )


list_milestones = viewed(_list)
show_milestone = viewed(_one)
