"""Commands that ask for changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from pipelines.config.targets import configured_target
from pipelines.writeback import proposals as asking
from pipelines.writeback import requests as reading
from pipelines.writeback.approvals import current_actor, now
from pipelines.writeback.fields import WRITABLE
from pipelines.writeback.proposals import ProposalResult
from pipelines.writeback.requests import ChangeRequest
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Action
from warehouse.ledger.store import connect_ledger
from warehouse.reader import WarehouseReader, open_reader

from .errors import handle_errors
from .options import DestinationOption, JsonOption, ReasonOption, Warehouse, WhoOption
from .output import print_json, print_out

propose = typer.Typer(
    no_args_is_help=False,
    invoke_without_command=True,
    help="Ask for changes of milestones: one, a file of them, or what a query selects. Columns of "
    "both: action (else update), milestone_id, reason (else --reason), and the fields to write: "
    f"{', '.join(WRITABLE)}; a create has no milestone_id, and workspace_id besides.",
)

SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A field to write.")
]


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
    """Ask for many changes, or hand on to a command that asks for one."""
    with handle_errors(as_json):
        if context.invoked_subcommand is not None:
            _refuse_options(context, context.invoked_subcommand)
            return
        if (file is None) == (query is None):
            raise ChangeRefused("say update, create or delete; or --from FILE; or --query SQL")

        def asks(ask: WarehouseReader) -> list[ChangeRequest]:
            if file is not None:
                return reading.from_csv(file, reason)
            return reading.from_query(ask, query or "", reason)

        results = _propose(destination, asks, who, allow_duplicate)
        if as_json:
            print_json([vars(result) for result in results])
            return
        for result in results:
            print_out(f"{result.where}: {' '.join(filter(None, _result_words(result)))}")
        new = sum(not result.note for result in results)
        print_out(f"{new} proposed, {len(results) - new} not")


def _result_words(result: ProposalResult) -> tuple[str, str]:
    if result.change_id is None:
        return "", result.note
    return result.change_id, result.note and f"({result.note})"


def _refuse_options(context: typer.Context, subcommand: str) -> None:
    """Options of many changes are not those of one: none may be lost on the way."""
    for option in context.command.params:
        if str(context.get_parameter_source(option.name or "")).endswith("COMMANDLINE"):
            raise ChangeRefused(
                f"{option.opts[0]} stands before {subcommand}, where it would count for nothing: "
                f"options go after it, milestones propose {subcommand} …"
            )


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
    with handle_errors(as_json):
        ask = reading.single_request(action, milestone_id, fields or (), reason)
        (result,) = _propose(destination, lambda _: [ask], who, duplicate)
        if as_json:
            print_json({"change_id": result.change_id})
        else:
            print_out(result.change_id or "")


def _propose(
    destination: Warehouse,
    asks: Callable[[WarehouseReader], list[ChangeRequest]],
    who: str | None,
    duplicate: bool,
) -> list[ProposalResult]:
    where = configured_target(destination)
    with open_reader(where) as query, connect_ledger(where.ledger_url, now) as ledger:
        return asking.propose(ledger, query, asks(query), current_actor(who), duplicate)
