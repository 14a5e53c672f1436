"""The command that shows the history of a change, or verifies the whole ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.runtime.exit_codes import ExitCode
from warehouse.errors import ChangeRefused, NoWarehouse
from warehouse.words import counted

from .errors import handle_errors
from .options import DestinationOption, JsonOption, OneChangeArgument
from .output import print_err, print_json, print_nothing, print_out

if TYPE_CHECKING:
    from warehouse.target import Target


def audit(
    change_id: OneChangeArgument = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Check that nobody altered the ledger, instead of showing a change."
        ),
    ] = False,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the history of a change: what happened, when, and who did it."""
    from pipelines.config.targets import configured_target
    from pipelines.writeback.ledger_access import open_ledger
    from warehouse.ledger.find import find_change

    from . import render_changes

    with handle_errors(as_json):
        target = configured_target(destination)
        if verify and change_id is not None:
            raise ChangeRefused("--verify checks the whole ledger: leave out the change")
        if verify:
            _verify(target, as_json)
            return
        if change_id is None:
            raise ChangeRefused("name a change, or check the whole ledger with --verify")
        try:
            with open_ledger(target) as ledger:
                events = ledger.events(find_change(ledger, change_id).change_id)
        except NoWarehouse as error:
            print_nothing(error, as_json)
            return
        if as_json:
            print_json([render_changes.event_json(event) for event in events])
        else:
            render_changes.render_audit(events)


def _verify(target: Target, as_json: bool) -> None:
    """Print whether somebody altered the ledger of changes; fail if so."""
    from pipelines.writeback.ledger_access import open_ledger
    from warehouse.ledger.verification import ledger_problems

    with open_ledger(target) as ledger:
        problems, events, changes = ledger_problems(ledger), ledger.events(), ledger.changes()
    if as_json:
        print_json({"events": len(events), "changes": len(changes), "problems": problems})
    elif problems:
        for line in ("milestones: the ledger was altered:", *(f"  {each}" for each in problems)):
            print_err(line)
    else:
        print_out(
            f"{counted(len(events), 'event')} of {counted(len(changes), 'change')}: all are as "
            "they were recorded"
        )
    if problems:
        raise typer.Exit(ExitCode.FAILED)
