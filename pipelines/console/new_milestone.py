"""The page with the form to propose a new milestone."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from pipelines.writeback.requests import ChangeRequest
from warehouse.ledger.change import Action
from warehouse.project_list import offered_projects, project_id
from warehouse.shared_reader import SharedReader

from .access import text_of, viewed
from .roles import Identity, Role
from .services import Console

_FIELDS = ("title", "amount", "date_to_invoice")


def _show(console: Console, request: Request, _identity: Identity) -> Response:
    """Return the page of a new milestone."""
    return new_milestone_page(console, request)


def new_milestone_page(
    console: Console,
    request: Request,
    *,
    form: FormData | None = None,
    problems: Sequence[str] = (),
) -> HTMLResponse:
    """Return the page to propose a new milestone.

    Args:
        console: The console.
        request: The request.
        form: The form that was refused; None for an empty one.
        problems: Why it was refused.
    """
    names = ("project", *_FIELDS, "reason")
    with console.readers.open() as reader:
        built = console.built(reader)
        projects = offered_projects(reader)
    return console.page(
        request,
        "new_milestone.html",
        status=422 if problems else 200,
        built=built,
        projects=projects,
        once=secrets.token_hex(8),
        values={name: text_of(form, name) if form else "" for name in names},
        problems=problems,
    )


def create_request(reader: SharedReader, form: FormData) -> ChangeRequest:
    """Return the new milestone that a form proposes.

    Raises:
        ChangeRefused: If it names no project, or several.
    """
    fields = {name: text_of(form, name) for name in _FIELDS if text_of(form, name).strip()}
    project = project_id(reader, text_of(form, "project"))
    return ChangeRequest(
        action=Action.CREATE,
        milestone_id=None,
        fields={"workspace_id": project, **fields},
        reason=text_of(form, "reason"),
    )


show_new_milestone = viewed(_show, Role.PROPOSER)
