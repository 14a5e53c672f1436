"""The pages of changes: the queue, and one change with its history."""

from __future__ import annotations

import re
from collections.abc import Sequence

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from pipelines.config.secrets import mask_secrets
from warehouse.errors import ChangeRefused, NoLedger
from warehouse.ledger.change import OPEN, Change, Status

from .access import viewed
from .open_changes import show_changes, show_effects
from .roles import Identity
from .services import Console

PAGE = 100  # changes
_ORDER = (Status.PROPOSED, Status.APPROVED)
_DONE = {
    "approved": "approved. The next push writes them to Kantata",
    "rejected": "rejected",
    "withdrawn": "withdrawn",
    "proposed": "proposed",
    "skipped": "already proposed or without a difference, so nothing was done for them",
}
IGNORED = "ignored"
_MOST_NAMES = 20
_LONGEST_NAME = 40  # characters
_COUNT = re.compile(r"[1-9][0-9]{0,5}")


def _queue(console: Console, request: Request, identity: Identity) -> Response:
    """Return the queue of changes."""
    return queue_page(console, request, identity)


def queue_page(
    console: Console,
    request: Request,
    identity: Identity,
    *,
    problems: Sequence[str] = (),
    status: int = 422,
) -> HTMLResponse:
    """Return the queue of changes.

    Args:
        console: The console.
        request: The request.
        identity: The person who asks.
        problems: Why a proposal or a decision was refused.
        status: The status code, if there are problems.
    """
    is_all = request.query_params.get("show") == "all" and not problems
    page = _page_number(request)
    with console.readers.open() as reader:
        built = console.built(reader)
        try:
            with console.ledger(reader, identity) as ledger:
                found = _in_order(ledger.changes(None if is_all else OPEN), is_all=is_all)
                part = found[PAGE * (page - 1) : PAGE * page]
                shown = show_changes(reader, ledger, part, identity)
        except NoLedger:
            found, shown = [], []
        effects = show_effects(reader, found)
    return console.page(
        request,
        "changes.html",
        status=status if problems else 200,
        built=built,
        changes=shown,
        found=len(found),
        proposed=sum(change.status is Status.PROPOSED for change in found),
        effects=effects,
        is_all=is_all,
        page=page,
        pages=max(1, -(-len(found) // PAGE)),
        problems=problems,
        done=[] if problems else _done(request),
    )


def _page_number(request: Request) -> int:
    """Return the page of the queue that an address asks for."""
    text = request.query_params.get("page", "1")
    return int(text) if _COUNT.fullmatch(text) else 1


def _in_order(changes: Sequence[Change], *, is_all: bool) -> list[Change]:
    """Return changes in the order of the queue: what waits first; of all, the newest first."""
    if is_all:
        return list(reversed(changes))
    places = {status: place for place, status in enumerate(_ORDER)}
    return sorted(changes, key=lambda change: places.get(change.status, len(places)))


def _done(request: Request) -> list[str]:
    """Return what was just done, as the address of the queue says."""
    given = request.query_params
    lines = [
        f"{int(given[name]):,} change{' was' if given[name] == '1' else 's were'} {words}."
        for name, words in _DONE.items()
        if _COUNT.fullmatch(given.get(name, ""))
    ]
    if names := shortened_names(given.getlist(IGNORED)):
        lines.append(f"These columns of the file were ignored: {', '.join(map(repr, names))}.")
    return lines


def shortened_names(names: Sequence[str]) -> list[str]:
    """Return the names of columns as the address of the queue holds them: a few, and short."""
    first = [name[:_LONGEST_NAME] for name in names[:_MOST_NAMES]]
    return [*first, "…"] if len(names) > _MOST_NAMES else first


def _one(console: Console, request: Request, identity: Identity) -> Response:
    """Return the page of one change, with its history."""
    change_id = str(request.path_params["id"])
    with console.readers.open() as reader:
        built = console.built(reader)
        try:
            with console.ledger(reader, identity) as ledger:
                change = ledger.change(change_id)
                (shown,) = show_changes(reader, ledger, [change], identity)
                events = ledger.events(change_id)
        except ChangeRefused:
            raise HTTPException(404, f"There is no change {change_id[:40]!r}.") from None
    return console.page(
        request,
        "change.html",
        built=built,
        shown=shown,
        events=[(event, mask_secrets(event.what)) for event in events],
    )


show_queue = viewed(_queue)
show_change = viewed(_one)
