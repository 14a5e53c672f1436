"""Commands for changes: list, plan, push, reconcile. ``propose`` and ``decide`` have others."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from warehouse.errors import ChangeRefused, NoLedger, NoWarehouse
from warehouse.ledger.change import OPEN, Change, Status

from . import propose
from .audit import audit
from .decide import approve, reject, withdraw
from .errors import handle_errors
from .options import (
    ChangeArgument,
    DestinationOption,
    JsonOption,
    OneChangeArgument,
    Warehouse,
    WhoOption,
)
from .output import print_err, print_json, print_nothing

if TYPE_CHECKING:
    from pipelines.writeback.result import PushResult
    from warehouse.ledger.store import Ledger
    from warehouse.target import Target


def add_commands(app: typer.Typer) -> None:
    """Add the commands for changes to the command line: list, decide, plan, push, audit."""
    app.add_typer(propose.propose, name="propose")
    for command in (changes, show_one, approve, reject, withdraw, plan, push, reconcile, audit):
        name = "show" if command is show_one else command.__name__
        app.command(name)(command)


def changes(
    everything: Annotated[bool, typer.Option("--all", help="Include finished changes.")] = False,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the open changes, or all changes."""
    from pipelines.config.targets import configured_target
    from pipelines.writeback.ledger_access import open_ledger

    with handle_errors(as_json):
        target = configured_target(destination)
        try:
            with open_ledger(target) as ledger:
                found = ledger.changes(None if everything else OPEN)
                untrusted = _untrusted(ledger, found)
        except (NoWarehouse, NoLedger) as error:
            print_nothing(error, as_json)
        else:
            _render(found, untrusted, target, as_json)


def _untrusted(ledger: Ledger, found: list[Change]) -> dict[str, str]:
    """Return why a push will not send approved changes among these, by id: an altered ledger."""
    from warehouse.ledger.verification import untrusted_changes

    return untrusted_changes(ledger, [c for c in found if c.status is Status.APPROVED])


def _render(found: list[Change], untrusted: dict[str, str], target: Target, as_json: bool) -> None:
    """Print the changes that the command `changes` found, as text or as JSON."""
    from . import render_changes
    from .labels import labels

    known = replace(labels(target, found), untrusted=untrusted)
    if as_json:
        print_json([render_changes.change_json(change, known) for change in found])
    else:
        render_changes.render_list(found, known)


def show_one(
    change_id: ChangeArgument,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one change."""
    from pipelines.config.targets import configured_target
    from pipelines.writeback.ledger_access import open_ledger
    from warehouse.ledger.find import find_change

    from . import render_changes
    from .labels import labels

    with handle_errors(as_json):
        target = configured_target(destination)
        with open_ledger(target) as ledger:
            change = find_change(ledger, change_id)
            untrusted = _untrusted(ledger, [change])
        known = replace(labels(target, [change]), untrusted=untrusted)
        if as_json:
            print_json(render_changes.change_json(change, known))
        else:
            render_changes.render_change(change, known)


def plan(destination: DestinationOption = None, as_json: JsonOption = False) -> None:
    """Show what `push` would do now, without writing anything."""
    from pipelines.runtime.signals import stop_on_signals

    with handle_errors(as_json), stop_on_signals():
        _plan(destination, as_json)


def _plan(destination: Warehouse | None, as_json: bool) -> None:
    """Print the plan of a push of the approved changes, as text or as JSON; write nothing."""
    from pipelines.config.settings import kantata_settings, push_settings
    from pipelines.config.targets import configured_target
    from pipelines.runtime.clock import utc_now
    from pipelines.writeback import service

    from . import render_changes
    from .labels import labels

    target = configured_target(destination)
    try:
        steps = service.plan_changes(
            kantata_settings(), push_settings(), target=target, now=utc_now
        )
    except NoLedger as error:
        print_nothing(error, as_json)
        return
    known = labels(target, (step.change for step in steps))
    if as_json:
        print_json(render_changes.plan_json(steps, known))
    else:
        render_changes.render_plan(steps, known)


def push(
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the plan only, as `plan` does.")
    ] = False,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the approved changes to Kantata, and only these."""
    from pipelines.config.settings import kantata_settings, push_settings
    from pipelines.config.targets import configured_target
    from pipelines.runtime.clock import utc_now
    from pipelines.runtime.signals import stop_on_signals
    from pipelines.writeback import service

    from .progress import console_observer

    with handle_errors(as_json), stop_on_signals():
        if dry_run:
            _plan(destination, as_json)
            return
        target = configured_target(destination)
        with console_observer() as observer:
            result = service.push_changes(
                kantata_settings(), push_settings(), target=target, observer=observer, now=utc_now
            )
        _render_push(result, target, as_json)


def reconcile(
    change_id: OneChangeArgument = None,
    created: Annotated[
        str | None,
        typer.Option(
            "--created", metavar="MILESTONE_ID", help="The milestone that the change created."
        ),
    ] = None,
    not_created: Annotated[
        bool, typer.Option("--not-created", help="The change created no milestone.")
    ] = False,
    reason: Annotated[
        str, typer.Option("--reason", help="How you know this, for the audit trail.")
    ] = "",
    who: WhoOption = None,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Find out whether unanswered writes took effect, or settle one by hand. Nothing is sent."""
    from pipelines.config.settings import kantata_settings, push_settings
    from pipelines.config.targets import configured_target
    from pipelines.runtime.clock import utc_now
    from pipelines.runtime.signals import stop_on_signals
    from pipelines.writeback import service
    from pipelines.writeback.actor import current_actor
    from pipelines.writeback.manual_settlement import Finding

    from .progress import console_observer

    with handle_errors(as_json), stop_on_signals():
        target = configured_target(destination)
        is_settled = created is not None or not_created
        if (change_id is not None) != is_settled or (created is not None and not_created):
            raise ChangeRefused(
                "to settle a change, give its id and either --created MILESTONE_ID or --not-created"
            )
        finding = change_id and Finding(
            change_id=change_id, milestone_id=created, actor=current_actor(who), reason=reason
        )
        with console_observer() as observer:
            result = service.reconcile_changes(
                kantata_settings(),
                push_settings(),
                target=target,
                observer=observer,
                now=utc_now,
                finding=finding or None,
            )
        _render_push(result, target, as_json)


def _render_push(result: PushResult, target: Target, as_json: bool) -> None:
    """Print the result of a command that pushed or reconciled changes, and exit with its code."""
    from pipelines.config.secrets import mask_secrets

    from . import render_changes
    from .labels import labels

    known = labels(target, [*result.changes, *(change for change, _ in result.waiting)])
    if as_json:
        print_json(render_changes.push_json(result, known))
    else:
        render_changes.render_push(result, known)
        if result.stopped is not None:
            print_err(mask_secrets(f"milestones: {result.stopped}"))
    raise typer.Exit(result.exit_code)
