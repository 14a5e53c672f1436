"""Who may use a handler: each is wrapped, so that none can forget to ask."""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from anyio import CapacityLimiter, to_thread
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import FormData
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from .identification import NotAUser, is_equal
from .roles import Identity, Role
from .services import Console

View = Callable[[Console, Request, Identity], Response]
Action = Callable[[Console, Request, Identity, FormData], Response]
Endpoint = Callable[[Request], Awaitable[Response]]
_MOST_FIELDS = 20_000  # of a form: three for each of the changes that are decided on
FORM_EXPIRED = (
    "This form is not one that the console sent to you, or your session has changed since then. "
    "Nothing was done. Go back, load the page again, and repeat it."
)
_ROLES_NEEDED = {
    Role.PROPOSER: "a proposer or an approver",
    Role.APPROVER: "an approver",
    Role.VIEWER: "a user",
}


def console_of(request: Request) -> Console:
    """Return the console that answers a request."""
    console: Console = request.app.state.console
    return console


def viewed(
    view: View, role: Role = Role.VIEWER, limiter: CapacityLimiter | None = None
) -> Endpoint:
    """Return a view as an endpoint for those who may access it.

    Args:
        view: Returns the page.
        role: The role that is needed.
        limiter: How many requests it answers at once; None for as many as the console does.
    """

    @functools.wraps(view)
    async def endpoint(request: Request) -> Response:
        identity = await _identified(request)
        if identity is None:
            return to_login(request)
        _check_role(identity, role)
        return await to_thread.run_sync(
            view, console_of(request), request, identity, limiter=limiter
        )

    return endpoint


def acted(action: Action, role: Role) -> Endpoint:
    """Return an action, which changes something, as an endpoint for those with access to it.

    Args:
        action: Does it, and returns the answer.
        role: The role that is needed.
    """

    @functools.wraps(action)
    async def endpoint(request: Request) -> Response:
        identity = await _identified(request)
        if identity is None:
            return to_login(request)
        async with request.form(max_files=1, max_fields=_MOST_FIELDS) as form:
            if not is_equal(text_of(form, "csrf_token"), identity.csrf_token):
                raise HTTPException(403, FORM_EXPIRED)
            _check_role(identity, role)
            return await run_in_threadpool(action, console_of(request), request, identity, form)

    return endpoint


async def _identified(request: Request) -> Identity | None:
    """Return who sent a request, and keep it for the page; refuse access to strangers."""
    try:
        identity = await run_in_threadpool(console_of(request).identification.identity, request)
    except NotAUser as stranger:
        raise HTTPException(
            403,
            f"You are {stranger.name}, who is no user of this console. Ask its administrator to "
            f"run: milestones console user add {stranger.name} --role viewer",
        ) from None
    request.state.identity = identity
    return identity


def _check_role(identity: Identity, role: Role) -> None:
    """Refuse access without a role."""
    if not identity.role.may(role):
        raise HTTPException(
            403,
            f"You are {identity.name}, a {identity.role}, and this needs {_ROLES_NEEDED[role]}. "
            "Nothing was done. Ask the administrator of the console for the role.",
        )


def to_login(request: Request) -> Response:
    """Return the way to the login page, and from there back to the page that was wanted."""
    wanted = request.url.path
    if request.method == "GET" and request.url.query:
        wanted += f"?{request.url.query}"
    if request.method != "GET":
        wanted = "/changes" if wanted.startswith("/changes") else "/"
    address = "/login" if wanted == "/" else f"/login?next={quote(wanted, safe='')}"
    if request.headers.get("hx-request") == "true":  # it would put the page into a part of this one
        return Response(status_code=401, headers={"HX-Redirect": address})
    return RedirectResponse(address, 303)


def text_of(form: FormData, name: str) -> str:
    """Return the text of a form's field; empty if it has none."""
    value = form.get(name, "")
    return value if isinstance(value, str) else ""


def texts_of(form: FormData, name: str) -> list[str]:
    """Return all texts of a form's field."""
    return [value for value in form.getlist(name) if isinstance(value, str)]
