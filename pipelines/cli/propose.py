"""Commands that propose changes: one, those in a file, or the rows of a query."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from pipelines.writeback.fields import WRITABLE
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import COMMAND_LINE, Action

from .errors import handle_errors
from .options import DestinationOption, JsonOption, ReasonOption, Warehouse, WhoOption
from .output import print_err, print_json, print_out

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pipelines.writeback.proposals import ProposalResult
    from pipelines.writeback.requests import ChangeRequest
    from warehouse.target import Target

propose = typer.Typer(
    no_args_is_help=False,
    invoke_without_command=True,
    help="Propose changes to milestones: one, or many from a CSV file, a workbook or a query. A "
    "CSV file or a query has these columns: action (create, update or delete; update if empty), "
    "milestone_id, reason (--reason if empty), currency (it is only checked), and the fields to "
    f"write: {', '.join(WRITABLE)}. A create has a workspace_id and no milestone_id.",
)

SetOption = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="NAME=VALUE", help="A field and its new value; repeat it for more fields."
    ),
]
UnusualOption = Annotated[
    bool, typer.Option("--unusual", help="Accept a date that is more than ten years away.")
]


class _Proposed(NamedTuple):
    """What a change proposes: its milestone, and each field before and after, in money."""

    name: str
    lines: list[str]


@propose.callback()
def propose_many(
    context: typer.Context,
    file: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            help="A CSV file with one change per line, or a workbook of `milestones export`.",
        ),
    ] = None,
    query: Annotated[
        str | None, typer.Option("--query", metavar="SQL", help="A select with one change per row.")
    ] = None,
    reason: ReasonOption = "",
    who: WhoOption = None,
    allow_duplicate: Annotated[
        bool,
        typer.Option("--allow-duplicate", help="Create a milestone even if an equal one exists."),
    ] = False,
    unusual: UnusualOption = False,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose many changes, unless a command for one change follows."""
    from pipelines.writeback.requests import requests_from_csv, requests_from_query
    from pipelines.writeback.spreadsheet import requests_from_workbook
    from warehouse.account import bound_account
    from warehouse.proposer_query import run_proposer_query
    from warehouse.reader import open_reader

    with handle_errors(as_json):
        if context.invoked_subcommand is not None:
            _refuse_options(context, context.invoked_subcommand)
            return
        if (file is None) == (query is None):
            raise ChangeRefused(
                "nothing to propose: add update, create, delete, --from FILE or --query SQL"
            )

        def read_requests(target: Target) -> list[ChangeRequest]:
            if file is not None and file.suffix.lower() == ".xlsx":
                with open_reader(target) as reader:
                    return requests_from_workbook(file, reason, bound_account(reader))
            if file is not None:
                return requests_from_csv(file, reason, partial(_print_ignored, file))
            return requests_from_query(partial(run_proposer_query, target), query or "", reason)

        results, proposed = _propose(
            destination,
            read_requests,
            who=who,
            allow_duplicate=allow_duplicate,
            allow_unusual=unusual,
        )
        if as_json:
            print_json([vars(result) for result in results])
        else:
            _render_results(results, proposed)


def _print_ignored(file: Path, names: Sequence[str]) -> None:
    """Print the names of the columns of a file that were ignored."""
    print_err(f"{file}: ignored the columns {', '.join(names)}")


def _render_results(results: list[ProposalResult], proposed: Mapping[str, _Proposed]) -> None:
    """Print the result of each request to propose a change, and how many were proposed."""
    for result in results:
        change = proposed.get(result.change_id or "")
        name = change.name if change else ""
        note = f"({result.note})" if result.change_id and result.note else result.note
        print_out(f"{result.where}: {' '.join(filter(None, (result.change_id, name, note)))}")
        for line in change.lines if change and not result.note else ():
            print_out(f"    {line}")
    new = sum(not result.note for result in results)
    print_out(f"{new} proposed, {len(results) - new} not proposed")


def _refuse_options(context: typer.Context, subcommand: str) -> None:
    """Refuse options of `propose` before the command for one change: they would be ignored."""
    for option in context.command.params:
        if str(context.get_parameter_source(option.name or "")).endswith("COMMANDLINE"):
            raise ChangeRefused(
                f"{option.opts[0]} is before {subcommand}, where it has no effect: write it after "
                f"the command, milestones propose {subcommand} …"
            )


@propose.command()
def update(
    milestone_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the milestone.")],
    reason: ReasonOption,
    fields: SetOption = None,
    who: WhoOption = None,
    unusual: UnusualOption = False,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose new values for the fields of a milestone."""
    from pipelines.writeback.requests import single_request

    with handle_errors(as_json):
        request = single_request(
            Action.UPDATE, milestone_id=milestone_id, assignments=fields or (), reason=reason
        )
        _propose_one(request, destination, who=who, as_json=as_json, allow_unusual=unusual)


@propose.command()
def create(
    reason: ReasonOption,
    fields: SetOption = None,
    who: WhoOption = None,
    allow_duplicate: Annotated[
        bool, typer.Option("--allow-duplicate", help="Create it even if an equal one exists.")
    ] = False,
    unusual: UnusualOption = False,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose a new milestone. Set at least workspace_id, title, and amount or amount_in_cents."""
    from pipelines.writeback.requests import single_request

    with handle_errors(as_json):
        request = single_request(
            Action.CREATE, milestone_id=None, assignments=fields or (), reason=reason
        )
        _propose_one(
            request,
            destination,
            who=who,
            as_json=as_json,
            allow_duplicate=allow_duplicate,
            allow_unusual=unusual,
        )


@propose.command()
def delete(
    milestone_id: Annotated[str, typer.Argument(metavar="ID", help="The id of the milestone.")],
    reason: ReasonOption,
    who: WhoOption = None,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Propose to delete a milestone."""
    from pipelines.writeback.requests import single_request

    with handle_errors(as_json):
        request = single_request(
            Action.DELETE, milestone_id=milestone_id, assignments=(), reason=reason
        )
        _propose_one(request, destination, who=who, as_json=as_json)


def _propose_one(
    request: ChangeRequest,
    destination: Warehouse | None,
    *,
    who: str | None,
    as_json: bool,
    allow_duplicate: bool = False,
    allow_unusual: bool = False,
) -> None:
    """Propose one change, and print its id and what it does as text, or its id as JSON."""
    (result,), proposed = _propose(
        destination,
        lambda _: [request],
        who=who,
        allow_duplicate=allow_duplicate,
        allow_unusual=allow_unusual,
    )
    if as_json:
        print_json({"change_id": result.change_id})
    else:
        print_out(result.change_id or "")
        change = None if result.note else proposed.get(result.change_id or "")
        for line in change.lines if change else ():
            print_err(f"    {line}")  # a script takes the id from stdout


def _propose(
    destination: Warehouse | None,
    read_requests: Callable[[Target], list[ChangeRequest]],
    *,
    who: str | None,
    allow_duplicate: bool,
    allow_unusual: bool,
) -> tuple[list[ProposalResult], dict[str, _Proposed]]:
    """Open the warehouse and the ledger, read the change requests and propose them.

    Returns:
        The result of each request, and what each change proposes, by its id.
    """
    from pipelines.config.targets import configured_target
    from pipelines.writeback.actor import current_actor
    from pipelines.writeback.ledger_access import open_ledger
    from pipelines.writeback.proposals import propose_changes
    from warehouse.ledger.change import OPEN
    from warehouse.reader import open_reader

    from .labels import labels
    from .render_changes import change_lines, change_name

    target = configured_target(destination)
    requests = read_requests(target)  # first: a query may take long, and locks nothing
    with (
        open_reader(target) as reader,
        open_ledger(target, reader=reader, create=True, identified_by=COMMAND_LINE) as ledger,
    ):
        results = propose_changes(
            ledger,
            reader,
            requests,
            proposer=current_actor(who),
            allow_duplicate=allow_duplicate,
            allow_unusual=allow_unusual,
        )
        ids = {result.change_id for result in results}
        changes = [change for change in ledger.changes(OPEN) if change.change_id in ids]
    known = labels(target, changes)
    return results, {
        change.change_id: _Proposed(change_name(change), change_lines(change, known))
        for change in changes
    }
