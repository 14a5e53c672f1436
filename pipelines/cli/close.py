"""The commands that close a month, show it again, and reopen it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from .errors import handle_errors
from .options import DestinationOption, JsonOption, ReasonOption, Warehouse, WhoOption

if TYPE_CHECKING:
    from pipelines.ops.periods import ShownClose

_MonthArgument = Annotated[str, typer.Argument(metavar="YYYY-MM", help="The month.")]


def close(
    month: _MonthArgument,
    show: Annotated[
        bool, typer.Option("--show", help="Only show the month as it was closed.")
    ] = False,
    who: WhoOption = None,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Close a month: freeze its figures by client and currency, and record who did it and when."""
    from pipelines.config.targets import configured_target
    from pipelines.ops import periods
    from pipelines.runtime.clock import utc_now
    from pipelines.writeback.actor import current_actor

    with handle_errors(as_json):
        first_day = periods.parse_month(month)
        target = configured_target(destination)
        if show:
            shown = periods.show_close(target, first_day)
        else:
            shown = periods.close_period(target, first_day, current_actor(who), utc_now)
        _render(shown, as_json)


def _render(shown: ShownClose, as_json: bool) -> None:
    """Print a closed month, as text or as JSON; say on stderr if the time zone has changed."""
    from . import render_close
    from .output import print_err, print_json

    if as_json:
        print_json(render_close.close_json(shown))
        return
    render_close.render_close(shown.close)
    if shown.has_other_timezone:
        print_err(
            f"the reporting time zone is {shown.timezone_now} now; this month was closed in "
            f"{shown.close.reporting_timezone}, and what was frozen stays as it is"
        )


def reopen(
    month: _MonthArgument,
    reason: ReasonOption,
    who: WhoOption = None,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reopen a closed month, so that it can be closed again. The frozen figures are kept."""
    with handle_errors(as_json):
        _reopen(month, reason, who, destination, as_json)


def _reopen(
    month: str, reason: str, who: str | None, destination: Warehouse | None, as_json: bool
) -> None:
    """Implement the command `reopen`."""
    from pipelines.config.targets import configured_target
    from pipelines.ops import periods
    from pipelines.runtime.clock import utc_now
    from pipelines.writeback.actor import current_actor

    from . import render_close
    from .output import print_json, print_out

    first_day, actor = periods.parse_month(month), current_actor(who)
    target = configured_target(destination)
    shown = periods.reopen_period(target, first_day, reason, actor, utc_now)
    if as_json:
        print_json(render_close.header_json(shown))
        return
    for line in render_close.header_lines(shown.close):
        print_out(line)
    print_out(f"close it again: milestones close {month} --as NAME")
