"""Commands around changes: propose, decide, plan, push, audit."""

from __future__ import annotations

import getpass
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Annotated

import typer

from warehouse.change import OPEN, Action, Change, Status
from warehouse.errors import ChangeRefused, WarehouseError
from warehouse.ledger import Ledger, opened_ledger

from . import propose as asking
from . import show, show_changes, writing
from .ending import ending
from .options import DestinationOption, JsonOption, Warehouse
from .propose import Ask, Proposed
from .push import Pushed
from .query import Query, queried
from .settings import Place, kantata_settings, ledger_url, place, push_settings
from .signals import stoppable

propose = typer.Typer(
    no_args_is_help=False,
    invoke_without_command=True,
    help="Ask for changes of milestones: one, a file of them, or what a query selects.",
)

ReasonOption = Annotated[str, typer.Option("--reason", help="Why; an auditor reads it.")]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A field to write.")
]
WhoOption = Annotated[
    str | None, typer.Option("--as", help="Who; the system's user without.", show_default=False)
]
ChangeArgument = Annotated[str, typer.Argument(metavar="CHANGE_ID")]
ChangesArgument = Annotated[list[str], typer.Argument(metavar="CHANGE_ID...")]


def add_to(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(propose, name="propose")
    for command in (changes, show_one, approve, reject, withdraw, plan, push, reconcile, audit):
        name = "show" if command is show_one else command.__name__
        app.command(name)(command)


def _now() -> datetime:
    return datetime.now(UTC)


@propose.callback()
def propose_many(
    context: typer.Context,
    file: Annotated[
        Path | None, typer.Option("--from", metavar="FILE.csv", help="A line for each change.")
    ] = None,
    query: Annotated[
        str | None, typer.Option("--query", metavar="SQL", help="A row for each change.")
    ] = None,
    reason: ReasonOption = "",
    who: WhoOption = None,
    allow_duplicate: Annotated[
        bool, typer.Option("--allow-duplicate", help="A create may equal another milestone.")
    ] = False,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """Ask for changes. Columns: action, milestone_id, reason, and the fields to write."""
    if context.invoked_subcommand is not None:
        return
    with ending(as_json):
        if (file is None) == (query is None):
            raise ChangeRefused("say update, create or delete; or --from FILE; or --query SQL")

        def asks(ask: Query) -> list[Ask]:
            if file is not None:
                return asking.from_csv(file, reason)
            return asking.from_query(ask, query or "", reason)

        results = _propose(destination, asks, who, allow_duplicate)
        if as_json:
            show.print_json([vars(result) for result in results])
            return
        for result in results:
            note = f" ({result.note})" if result.note else ""
            show.plain_out(f"{result.change_id or 'nothing'}{note}")
        new = sum(not result.note for result in results)
        show.plain_out(f"{new} proposed, {len(results) - new} not needed")


@propose.command()
def update(
    milestone_id: Annotated[str, typer.Argument(metavar="ID")],
    reason: ReasonOption,
    fields: SetOption = None,
    who: WhoOption = None,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """Ask to change fields of a milestone."""
    _propose_one(Action.UPDATE, milestone_id, fields, reason, who, destination, as_json)


@propose.command()
def create(
    reason: ReasonOption,
    fields: SetOption = None,
    who: WhoOption = None,
    allow_duplicate: Annotated[
        bool, typer.Option("--allow-duplicate", help="It may equal another milestone.")
    ] = False,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """Ask for a new milestone: workspace_id, title and amount_in_cents at least."""
    _propose_one(Action.CREATE, None, fields, reason, who, destination, as_json, allow_duplicate)


@propose.command()
def delete(
    milestone_id: Annotated[str, typer.Argument(metavar="ID")],
    reason: ReasonOption,
    who: WhoOption = None,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """Ask to delete a milestone."""
    _propose_one(Action.DELETE, milestone_id, None, reason, who, destination, as_json)


def _propose_one(
    action: Action,
    milestone_id: str | None,
    fields: list[str] | None,
    reason: str,
    who: str | None,
    destination: Warehouse,
    as_json: bool,
    duplicate: bool = False,
) -> None:
    with ending(as_json):
        ask = asking.one(action, milestone_id, fields or (), reason)
        (result,) = _propose(destination, lambda _: [ask], who, duplicate)
        if as_json:
            show.print_json({"change_id": result.change_id})
        else:
            show.plain_out(result.change_id or "")


def _propose(
    destination: Warehouse,
    asks: Callable[[Query], list[Ask]],
    who: str | None,
    duplicate: bool,
) -> list[Proposed]:
    where = place(destination)
    with queried(where) as (_, query), opened_ledger(ledger_url(where), _now) as ledger:
        return asking.propose(ledger, query, asks(query), _who(who), duplicate)


def _who(name: str | None) -> str:
    found = getpass.getuser() if name is None else " ".join(name.split())
    if not found:
        raise ChangeRefused("--as is empty: say who it is")
    return found


@dataclass(frozen=True)
class _Desk:
    """The ledger, and what amounts in it are worth."""

    ledger: Ledger
    units: dict[str, Decimal]


@contextmanager
def _desk(destination: Warehouse) -> Iterator[_Desk]:
    where = place(destination)
    with opened_ledger(ledger_url(where), _now) as ledger:
        yield _Desk(ledger, _units(where))


def _units(where: Place) -> dict[str, Decimal]:
    """What a subunit of each currency is worth; nothing if the warehouse cannot be asked."""
    with suppress(WarehouseError), queried(where) as (_, query):
        sql = "select iso_code, unit_per_subunit from kantata.currencies"
        return {code: Decimal(unit) for code, unit in query.rows(sql) if unit is not None}
    return {}


def changes(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are done.")] = False,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """List changes: what is open, or all."""
    with ending(as_json), _desk(destination) as desk:
        found = desk.ledger.changes(None if everything else OPEN)
        if as_json:
            show.print_json([show_changes.change_json(c, desk.units) for c in found])
        else:
            show_changes.listed(found, desk.units)


def show_one(
    change_id: ChangeArgument,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """Show all of one change."""
    with ending(as_json), _desk(destination) as desk:
        change = desk.ledger.change(change_id)
        if as_json:
            show.print_json(show_changes.change_json(change, desk.units))
        else:
            show_changes.whole(change, desk.units)


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
        lambda ledger, change: ledger.approve(change, _who(name)),
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
        lambda ledger, change: ledger.move(change, Status.REJECTED, _who(who), reason),
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
        lambda ledger, change: ledger.move(change, Status.WITHDRAWN, _who(who), reason),
    )  # fmt: skip


def _decide(
    change_ids: list[str],
    destination: Warehouse,
    as_json: bool,
    decide: Callable[[Ledger, Change], Change],
) -> None:
    """Decide on each change; one that cannot be decided on does not hold up the others."""
    with ending(as_json), _desk(destination) as desk:
        done: list[Change] = []
        refused: list[str] = []
        for change_id in dict.fromkeys(change_ids):
            try:
                done.append(decide(desk.ledger, desk.ledger.change(change_id)))
            except ChangeRefused as error:
                refused.append(str(error))
        if as_json and not refused:
            show.print_json([show_changes.change_json(c, desk.units) for c in done])
        elif not as_json and done:
            show_changes.listed(done, desk.units)
        if refused:
            raise ChangeRefused("; ".join(refused))


def plan(destination: DestinationOption = Warehouse.DUCKDB, as_json: JsonOption = False) -> None:
    """Show what push would do now against the live account; nothing is written."""
    with ending(as_json), stoppable():
        _plan(destination, as_json)


def _plan(destination: Warehouse, as_json: bool) -> None:
    where = place(destination)
    steps = writing.plan(kantata_settings(), push_settings(), where, _now)
    if as_json:
        show.print_json(show_changes.plan_json(steps, _units(where)))
    else:
        show_changes.plan(steps, _units(where))


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
            result = writing.push(kantata_settings(), push_settings(), where, watcher, _now)
        _told(result, where, as_json)


def reconcile(
    destination: DestinationOption = Warehouse.DUCKDB, as_json: JsonOption = False
) -> None:
    """Find out what became of changes that may have been written; send nothing."""
    with ending(as_json), stoppable():
        where = place(destination)
        with show.watcher() as watcher:
            result = writing.reconcile(kantata_settings(), push_settings(), where, watcher, _now)
        _told(result, where, as_json)


def _told(result: Pushed, where: Place, as_json: bool) -> None:
    if as_json:
        show.print_json(show_changes.pushed_json(result, _units(where)))
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
    with ending(as_json), _desk(destination) as desk:
        desk.ledger.change(change_id)
        events = desk.ledger.events(change_id)
        if as_json:
            show.print_json([vars(event) for event in events])
        else:
            show_changes.audit(events)
