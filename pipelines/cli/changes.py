"""Commands around changes: decide, plan, push, audit; those that propose are beside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

from pipelines.config.settings import kantata_settings, push_settings
from pipelines.config.targets import configured_target
from pipelines.runtime.signals import stop_on_signals
from pipelines.writeback import service
from pipelines.writeback.approvals import current_actor, now, open_ledger
from pipelines.writeback.fields import check_text
from pipelines.writeback.requests import refuse_problems
from pipelines.writeback.result import PushResult
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import OPEN, Change, Status
from warehouse.ledger.engine import missing_ledger_message
from warehouse.ledger.store import Ledger
from warehouse.target import Target

from . import propose, render_changes
from .errors import handle_errors
from .labels import labels
from .options import DestinationOption, JsonOption, ReasonOption, Warehouse, WhoOption
from .output import print_err, print_json
from .progress import console_observer
from .render_changes import DIGEST_LENGTH

ChangeArgument = Annotated[str, typer.Argument(metavar="CHANGE_ID")]
ChangesArgument = Annotated[list[str], typer.Argument(metavar="CHANGE_ID...")]


def add_commands(app: typer.Typer) -> None:
    """Add these commands to the command line."""
    app.add_typer(propose.propose, name="propose")
    for command in (changes, show_one, approve, reject, withdraw, plan, push, reconcile, audit):
        name = "show" if command is show_one else command.__name__
        app.command(name)(command)


def changes(
    everything: Annotated[bool, typer.Option("--all", help="Also those that are done.")] = False,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """List changes: what is open, or all."""
    with handle_errors(as_json):
        where = configured_target(destination)
        if _has_no_ledger(where, as_json):
            return
        with open_ledger(where) as ledger:
            found = ledger.changes(None if everything else OPEN)
        _render(found, where, as_json)


def _has_no_ledger(where: Target, as_json: bool) -> bool:
    """Whether there is no ledger; then that is told."""
    if why := missing_ledger_message(where.ledger_url):
        print_err(why)
        if as_json:
            print_json([])
    return bool(why)


def _render(found: list[Change], where: Target, as_json: bool) -> None:
    known = labels(where, found)
    if as_json:
        print_json([render_changes.change_json(change, known) for change in found])
    else:
        render_changes.render_list(found, known)


def show_one(
    change_id: ChangeArgument,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """Show all of one change."""
    with handle_errors(as_json):
        where = configured_target(destination)
        with open_ledger(where) as ledger:
            change = ledger.change(change_id)
        known = labels(where, [change])
        if as_json:
            print_json(render_changes.change_json(change, known))
        else:
            render_changes.render_change(change, known)


def approve(
    change_ids: ChangesArgument,
    who: WhoOption = None,
    digest: Annotated[
        str | None,
        typer.Option("--digest", help="Approve only if the change has it, as `changes` showed."),
    ] = None,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """Approve changes that another person proposed."""

    def decide(ledger: Ledger, change: Change) -> Change:
        if digest is not None and not change.digest.startswith(digest.strip().lower()):
            raise ChangeRefused(
                f"change {change.change_id} has the digest {change.digest[:DIGEST_LENGTH]}, not "
                f"{digest}: it is not what was looked at"
            )
        return ledger.approve(change, current_actor(who))

    with handle_errors(as_json):
        if digest is not None and (len(digest.strip()) < DIGEST_LENGTH or len(change_ids) > 1):
            raise ChangeRefused(
                f"--digest is for one change, and has {DIGEST_LENGTH} characters or more"
            )
        _decide_each(change_ids, destination, as_json, decide)


def reject(
    change_ids: ChangesArgument,
    reason: ReasonOption,
    who: WhoOption = None,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """Reject changes, and say why."""
    _close(change_ids, Status.REJECTED, reason, who, destination, as_json)


def withdraw(
    change_ids: ChangesArgument,
    reason: ReasonOption = "withdrawn",
    who: WhoOption = None,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """Take changes back before they are sent."""
    _close(change_ids, Status.WITHDRAWN, reason, who, destination, as_json)


def _close(
    change_ids: list[str],
    status: Status,
    reason: str,
    who: str | None,
    destination: Warehouse,
    as_json: bool,
) -> None:
    with handle_errors(as_json):
        if not check_text("--reason", reason).strip():
            raise ChangeRefused("--reason is empty: say why, an auditor reads it")
        _decide_each(
            change_ids, destination, as_json,
            lambda ledger, change: ledger.transition(
                change, status, who=current_actor(who), what=reason.strip()
            ),
        )  # fmt: skip


def _decide_each(
    change_ids: list[str],
    destination: Warehouse,
    as_json: bool,
    decide: Callable[[Ledger, Change], Change],
) -> None:
    """Decide on each change; one that cannot be decided on does not hold up the others."""
    done: list[Change] = []
    refused: dict[str, str] = {}
    where = configured_target(destination)
    with open_ledger(where) as ledger:
        for change_id in dict.fromkeys(change_ids):
            try:
                done.append(decide(ledger, ledger.change(change_id)))
            except ChangeRefused as error:
                refused[change_id] = str(error)
    if as_json and refused:
        known = labels(where, done)
        print_json(
            {
                "error": "\n".join(refused.values()),
                "exit_code": ChangeRefused.exit_code,
                "changes": [render_changes.change_json(change, known) for change in done],
                "refused": [{"change_id": id_, "why": why} for id_, why in refused.items()],
            }
        )
        raise typer.Exit(ChangeRefused.exit_code)
    if as_json or done:
        _render(done, where, as_json)
    refuse_problems(list(refused.values()), "")


def plan(destination: DestinationOption = Warehouse.DUCKDB, as_json: JsonOption = False) -> None:
    """Show what push would do now against the live account; nothing is written."""
    with handle_errors(as_json), stop_on_signals():
        _plan(destination, as_json)


def _plan(destination: Warehouse, as_json: bool) -> None:
    where = configured_target(destination)
    if _has_no_ledger(where, as_json):
        return
    steps = service.plan_changes(kantata_settings(), push_settings(), where, now)
    known = labels(where, (step.change for step in steps))
    if as_json:
        print_json(render_changes.plan_json(steps, known))
    else:
        render_changes.render_plan(steps, known)


def push(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="The same as plan.")] = False,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """Write approved changes to Kantata, each at most once."""
    with handle_errors(as_json), stop_on_signals():
        if dry_run:
            _plan(destination, as_json)
            return
        where = configured_target(destination)
        with console_observer() as observer:
            result = service.push_changes(kantata_settings(), push_settings(), where, observer, now)
        _render_push(result, where, as_json)


def reconcile(
    destination: DestinationOption = Warehouse.DUCKDB, as_json: JsonOption = False
) -> None:
    """Find out what became of changes that may have been written; send nothing."""
    with handle_errors(as_json), stop_on_signals():
        where = configured_target(destination)
        with console_observer() as observer:
            result = service.reconcile_changes(
                kantata_settings(), push_settings(), where, observer, now
            )
        _render_push(result, where, as_json)


def _render_push(result: PushResult, where: Target, as_json: bool) -> None:
    known = labels(where, [*result.changes, *(change for change, _ in result.waiting)])
    if as_json:
        print_json(render_changes.push_json(result, known))
    else:
        render_changes.render_push(result, known)
        if result.stopped is not None:
            print_err(f"milestones: {result.stopped}")
    raise typer.Exit(result.exit_code)


def audit(
    change_id: ChangeArgument,
    destination: DestinationOption = Warehouse.DUCKDB,
    as_json: JsonOption = False,
) -> None:
    """Show what happened to a change, and who did it."""
    with handle_errors(as_json), open_ledger(configured_target(destination)) as ledger:
        ledger.change(change_id)
        events = ledger.events(change_id)
        if as_json:
            print_json([vars(event) for event in events])
        else:
            render_changes.render_audit(events)
