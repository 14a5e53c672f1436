"""The page of the runs: how each ended, and what requires action."""

from __future__ import annotations

from dataclasses import replace

from starlette.requests import Request
from starlette.responses import Response

from pipelines.config.secrets import mask_secrets
from warehouse.milestone_list import open_rejects
from warehouse.raw.runs import Run, recent_runs

from .access import viewed
from .roles import Identity
from .services import Console
from .view_text import duration_text

_MOST = 50  # runs that are shown
MODES = {
    "scan": "full scan",
    "feed": "incremental sync",
    "touched": "after a push",
    "undecided": "ended early",
}
STATUSES = {
    "proven": "validated",
    "unproven": "not validated",
    "running": "running",
    "failed": "failed",
    "stopped": "stopped",
}


def _runs(console: Console, request: Request, _identity: Identity) -> Response:
    """Return the page of the runs."""
    with console.readers.open() as reader:
        built = console.built(reader)
        runs = list(map(_masked, recent_runs(reader, _MOST)))
        rejects = open_rejects(reader)
    return console.page(
        request,
        "runs.html",
        built=built,
        runs=runs,
        rejects=rejects,
        modes=MODES,
        statuses=STATUSES,
        duration=duration_text,
    )


def _masked(run: Run) -> Run:
    """Return a run without secrets, which a message of a driver may contain."""
    return replace(
        run,
        error=run.error and mask_secrets(run.error),
        warnings=list(map(mask_secrets, run.warnings)),
    )


show_runs = viewed(_runs)
