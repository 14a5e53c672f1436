"""The console as an application: its routes, and what people see when something fails."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from pipelines.config.secrets import mask_secrets
from sources.kantata.errors import KantataError
from warehouse.errors import ChangeRefused, WarehouseError

from . import decisions, files, login, milestones, new_milestone, overview, propose, queue, runs
from .access import console_of
from .security import Guard
from .services import Console

OnError = Callable[[Exception], str]
_TITLES = {
    400: "This address is wrong",
    403: "You may not do this",
    404: "There is no such page",
    405: "This cannot be opened like this",
    409: "Nothing was decided",
    413: "The file is too large",
    422: "Nothing was done",
    500: "The console failed",
    503: "The figures cannot be read now",
}
_DEFAULT = {
    404: "Check the address, or start at the overview.",
    405: "Use the buttons of the page.",
}


def console_app(console: Console, on_error: OnError) -> ASGIApp:
    """Return the console as an application.

    Args:
        console: Its parts.
        on_error: Is given an unexpected error; returns where its details are, for the page.
    """
    app = Starlette(
        routes=[
            Route("/", overview.overview),
            Route("/login", login.show_login, methods=["GET"]),
            Route("/login", login.log_in, methods=["POST"]),
            Route("/logout", login.log_out, methods=["POST"]),
            Route("/milestones", milestones.list_milestones),
            Route("/milestones.csv", files.csv_file),
            Route("/milestones.xlsx", files.workbook_file),
            Route("/milestones/{id}", milestones.show_milestone),
            Route("/changes", queue.show_queue),
            Route("/changes/new", new_milestone.show_new_milestone),
            Route("/changes/propose", propose.propose, methods=["POST"]),
            Route("/changes/approve", decisions.approve, methods=["POST"]),
            Route("/changes/reject", decisions.reject, methods=["POST"]),
            Route("/changes/withdraw", decisions.withdraw, methods=["POST"]),
            Route("/changes/{id}", queue.show_change),
            Route("/runs", runs.show_runs),
            Mount("/static", StaticFiles(directory=Path(__file__).parent / "static")),
        ],
        exception_handlers={
            HTTPException: _http_error,
            ChangeRefused: _refused,
            WarehouseError: _unreadable,
            KantataError: _unreadable,
            Exception: _failed,
        },
    )
    app.state.console = console
    app.state.on_error = on_error
    return Guard(
        _Reported(app),
        has_tls=console.has_tls,
        trusted=console.settings.trusted_proxies,
    )


def error_page(request: Request, status: int, message: str) -> Response:
    """Return the page of an error: what happened, and what to do."""
    return console_of(request).page(
        request,
        "error.html",
        status=status,
        title=_TITLES.get(status, "The request failed"),
        message=message,
    )


def _http_error(request: Request, error: Exception) -> Response:
    """Return the page for a request that cannot be answered."""
    assert isinstance(error, HTTPException)  # noqa: S101 - it is registered for this class
    is_ours = error.detail not in ("Not Found", "Method Not Allowed")
    message = error.detail if is_ours else _DEFAULT.get(error.status_code, error.detail)
    return error_page(request, error.status_code, message)


def _refused(request: Request, error: Exception) -> Response:
    """Return the page for a change that was refused."""
    return error_page(request, 422, mask_secrets(" ".join(map(str, error.args))))


def _unreadable(request: Request, error: Exception) -> Response:
    """Return the page for a warehouse or a ledger that cannot be used now."""
    return error_page(request, 503, mask_secrets(str(error)))


def _failed(request: Request, error: Exception) -> Response:
    """Return the page for an unexpected error: a bug, which is still reported in a line."""
    on_error: OnError = request.app.state.on_error
    where = on_error(error)
    return error_page(
        request, 500, f"This is a mistake of the program. Tell its administrator{where}."
    )


class _Reported:
    """Ends a request whose unexpected error was reported: Starlette raises it once more.

    Args:
        app: The application.
    """

    def __init__(self, app: Starlette) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request of the application."""
        with suppress(Exception):
            await self._app(scope, receive, send)
