"""Logging in and out."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from warehouse.ledger.trust import normalized_name

from .access import FORM_EXPIRED, acted, console_of, text_of
from .roles import Identity, Role
from .services import Console

_MOST_FIELDS = 10
_WRONG = "The name or the password is wrong."


def safe_next(wanted: str) -> str:
    """Return the page to show after the login: one of this console, whatever a link says."""
    parts = urlsplit(wanted)
    is_ours = wanted.startswith("/") and not wanted.startswith(("//", "/\\"))
    is_plain = not any(ord(letter) < 32 or letter == "\\" for letter in wanted)
    return wanted if is_ours and is_plain and not parts.scheme and not parts.netloc else "/"


async def show_login(request: Request) -> Response:
    """Show the login page."""
    return await run_in_threadpool(
        login_page, console_of(request), request, request.query_params.get("next", "/")
    )


def login_page(
    console: Console, request: Request, wanted: str, error: str = "", status: int = 200
) -> Response:
    """Return the login page.

    Args:
        console: The console.
        request: The request.
        wanted: The page to show after the login.
        error: Why the last attempt failed; empty without one.
        status: The status code.
    """
    value, token = console.identification.login_token(request)
    page = console.page(
        request,
        "login.html",
        status=status,
        csrf_token=token,
        wanted=safe_next(wanted),
        error=error,
        has_users=bool(console.users.all()),
    )
    console.identification.set_login_cookie(request, page, value)
    return page


async def log_in(request: Request) -> Response:
    """Log a user in, if the name and the password are right."""
    async with request.form(max_files=0, max_fields=_MOST_FIELDS) as form:
        if not console_of(request).identification.is_own_login(
            request, text_of(form, "csrf_token")
        ):
            raise HTTPException(403, FORM_EXPIRED)
        return await run_in_threadpool(
            _log_in,
            console_of(request),
            request,
            name=text_of(form, "username"),
            password=text_of(form, "password"),
            wanted=text_of(form, "next") or request.query_params.get("next", "/"),
        )


def _log_in(
    console: Console, request: Request, *, name: str, password: str, wanted: str
) -> Response:
    """Return the answer to an attempt to log in."""
    address, key = console.identification.address(request), normalized_name(name)[:100]
    if wait := console.login_limit.seconds_to_wait(address, key):
        page = login_page(
            console,
            request,
            wanted,
            f"There were too many attempts. Wait {wait // 60 + 1} minutes, then try again.",
            429,
        )
        page.headers["retry-after"] = str(wait)
        return page
    user = console.users.verified(name, password)
    if user is None:
        console.login_limit.count_failure(address, key)
        return login_page(console, request, wanted, _WRONG, 401)
    answer = RedirectResponse(safe_next(wanted), 303)
    console.identification.log_in(request, answer, user)
    return answer


def _log_out(console: Console, request: Request, _identity: Identity, _form: object) -> Response:
    """Log a user out."""
    answer = RedirectResponse("/login", 303)
    console.identification.log_out(request, answer)
    return answer


log_out = acted(_log_out, Role.VIEWER)
