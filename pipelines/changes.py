"""Commands around changes: decide, plan, push, audit; those that propose are beside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from warehouse.change import OPEN, Change, Status
from warehouse.errors import ChangeRefused
from warehouse.ledger import Ledger

from . import proposing, show, show_changes, writing
from .desk import desk, now, units, who_is
from .ending import ending
from .options import DestinationOption, JsonOption, ReasonOption, Warehouse, WhoOption
from .push import Pushed
from .settings import Place, kantata_settings, place, push_settings
from .signals import stoppable

ChangeArgument = Annotated[str, typer.Argument(metavar="CHANGE_ID")]
ChangesArgument = Annotated[list[str], typer.Argument(metavar="CHANGE_ID...")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(proposing.propose, name="propose")
    for command in (changes, show_one, approve, reject, withdraw, plan, push, reconcile, audit):
        name = "show" if command is show_one else command.__name__
        app.command(name)(command)


def changes(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are done.")] = False,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """List changes: what is open, or all."""
    with ending(as_json), desk(destination) as at:
        found = at.ledger.changes(None if everything else OPEN)
        if as_json:
            show.print_json([show_changes.change_json(c, at.units) for c in found])
        else:
            show_changes.listed(found, at.units)


def show_one(
    change_id: ChangeArgument,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """Show all of one change."""
    with ending(as_json), desk(destination) as at:
        change = at.ledger.change(change_id)
        if as_json:
            show.print_json(show_changes.change_json(change, at.units))
        else:
            show_changes.whole(change, at.units)


def approve(
    change_ids: ChangesArgument,
    who: WhoOption = None,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """Approve changes that another person proposed."""
    name = who
    _decide(
        change_ids, destination, as_json,
        lambda ledger, change: ledger.approve(change, who_is(name)),
    )  # fmt: skip


def reject(
    change_ids: ChangesArgument,
    reason: ReasonOption,
    who: WhoOption = None,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """Reject changes, and say why."""
    _decide(
        change_ids, destination, as_json,
        lambda ledger, change: ledger.move(change, Status.REJECTED, who_is(who), reason),
    )  # fmt: skip


def withdraw(
    change_ids: ChangesArgument,
    reason: ReasonOption = "withdrawn",
    who: WhoOption = None,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """Take changes back before they are sent."""
    _decide(
        change_ids, destination, as_json,
        lambda ledger, change: ledger.move(change, Status.WITHDRAWN, who_is(who), reason),
    )  # fmt: skip


def _decide(
    change_ids: list[str],
    destination: Warehouse,
    as_json: bool,
    decide: Callable[[Ledger, Change], Change],
) -> None:
    """Decide on each change; one that cannot be decided on does not hold up the others."""
    with ending(as_json), desk(destination) as at:
        done: list[Change] = []
        refused: list[str] = []
        for change_id in dict.fromkeys(change_ids):
            try:
                done.append(decide(at.ledger, at.ledger.change(change_id)))
            except ChangeRefused as error:
                refused.append(str(error))
        if as_json and not refused:
            show.print_json([show_changes.change_json(c, at.units) for c in done])
        elif not as_json and done:
            show_changes.listed(done, at.units)
        if refused:
            raise ChangeRefused("; ".join(refused))


def plan(destination: DestinationOption = Warehouse.DUCKDB, as_json: JsonOption = False) -> None:
    """Show what push would do now against the live account; nothing is written."""
    with ending(as_json), stoppable():
        _plan(destination, as_json)


def _plan(destination: Warehouse, as_json: bool) -> None:
    where = place(destination)
    steps = writing.plan(kantata_settings(), push_settings(), where, now)
    if as_json:
        show.print_json(show_changes.plan_json(steps, units(where)))
    else:
        show_changes.plan(steps, units(where))


def push(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="The same as plan.")] = False,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """Write approved changes to Kantata, each at most once."""
    with ending(as_json), stoppable():
        if dry_run:
            _plan(destination, as_json)
            return
        where = place(destination)
        with show.watcher() as watcher:
            result = writing.push(kantata_settings(), push_settings(), where, watcher, now)
        _told(result, where, as_json)


def reconcile(
    destination: DestinationOption = Warehouse.DUCKDB, as_json: JsonOption = False
) -> None:
    """Find out what became of changes that may have been written; send nothing."""
    with ending(as_json), stoppable():
        where = place(destination)
        with show.watcher() as watcher:
            result = writing.reconcile(kantata_settings(), push_settings(), where, watcher, now)
        _told(result, where, as_json)


def _told(result: Pushed, where: Place, as_json: bool) -> None:
    if as_json:
        show.print_json(show_changes.pushed_json(result, units(where)))
    else:
        show_changes.pushed(result)
        if result.stopped is not None:
            show.plain(f"milestones: {result.stopped}")
    raise typer.Exit(result.exit_code)


def audit(
    change_id: ChangeArgument,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """Show what happened to a change, and who did it."""
    with ending(as_json), desk(destination) as at:
        at.ledger.change(change_id)
        events = at.ledger.events(change_id)
        if as_json:
            show.print_json([vars(event) for event in events])
        else:
            show_changes.audit(events)
