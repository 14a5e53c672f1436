"""The command that shows how current the warehouse is."""

from __future__ import annotations

import typer

from pipelines.config.settings import parse_duration
from pipelines.config.targets import configured_target
from pipelines.ops.status import read_status
from pipelines.runtime.clock import utc_now
from pipelines.runtime.exit_codes import ExitCode

from . import render_status
from .errors import handle_errors
from .options import Warehouse
from .output import print_err, print_json


def status(destination: Warehouse | None, *, fail_if_older_than: str | None, as_json: bool) -> None:
    """Implement the command `status`: print the warehouse's status, and fail if it is too old."""
    with handle_errors(as_json):
        max_age = parse_duration(fail_if_older_than or "999999d", "--fail-if-older-than")
        found = read_status(configured_target(destination))
        if as_json:
            print_json(render_status.status_json(found))
        else:
            render_status.render_status(found)
        if fail_if_older_than and not found.is_fresh(max_age, utc_now()):
            if not as_json:
                print_err(f"milestones: no run was validated within {fail_if_older_than}")
            raise typer.Exit(ExitCode.FAILED)
