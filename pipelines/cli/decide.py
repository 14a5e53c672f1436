"""Commands that decide on changes: approve, reject, withdraw."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from warehouse.errors import ChangeRefused
from warehouse.ledger.change import COMMAND_LINE

from .errors import handle_errors
from .options import (
    CHANGE_ID_HELP,
    ChangesArgument,
    DestinationOption,
    JsonOption,
    ReasonOption,
    Warehouse,
    WhoOption,
)
from .output import print_json

if TYPE_CHECKING:
    from pipelines.writeback.approvals import DecisionResult
    from warehouse.ledger.store import Ledger
    from warehouse.target import Target


def approve(
    change_ids: Annotated[
        list[str] | None,
        typer.Argument(metavar="CHANGE_ID", help=CHANGE_ID_HELP, show_default=False),
    ] = None,
    everything: Annotated[
        bool,
        typer.Option("--all", help="Approve all proposed changes. This needs --digest."),
    ] = False,
    who: WhoOption = None,
    digest: Annotated[
        str | None,
        typer.Option(
            "--digest",
            help="With one CHANGE_ID, the digest of that change; with --all, the digest of the "
            "list. `changes` shows both. If the digest differs, nothing is approved.",
        ),
    ] = None,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Approve changes that somebody else proposed."""
    decide = partial(_approve, change_ids=change_ids or [], everything=everything, digest=digest)
    _decide(decide, destination, who, as_json)


def _approve(
    ledger: Ledger, *, change_ids: list[str], everything: bool, digest: str | None, actor: str
) -> DecisionResult:
    """Approve these changes, or all proposed ones.

    Raises:
        ChangeRefused: If it is not clear which.
    """
    from pipelines.writeback import approvals

    if everything and change_ids:
        raise ChangeRefused(
            "--all approves the whole list: leave out the ids, or leave out --all to approve only "
            "these"
        )
    if everything:
        return approvals.approve_all(ledger, actor=actor, digest=digest)
    if not change_ids:
        raise ChangeRefused(
            "name the changes to approve, or approve all of a list that you saw: "
            "milestones approve --all --digest DIGEST"
        )
    return approvals.approve(ledger, change_ids, actor=actor, digest=digest)


def reject(
    change_ids: ChangesArgument,
    reason: ReasonOption,
    who: WhoOption = None,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reject proposed changes, with a reason."""
    from pipelines.writeback import approvals

    decide = partial(approvals.reject, change_ids=change_ids, reason=reason)
    _decide(decide, destination, who, as_json)


def withdraw(
    change_ids: ChangesArgument,
    reason: ReasonOption = "withdrawn",
    who: WhoOption = None,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Withdraw changes that are not sent yet."""
    from pipelines.writeback import approvals

    decide = partial(approvals.withdraw, change_ids=change_ids, reason=reason)
    _decide(decide, destination, who, as_json)


def _decide(
    decide: Callable[..., DecisionResult],
    destination: Warehouse | None,
    who: str | None,
    as_json: bool,
) -> None:
    """Open the ledger, decide on changes as this person, and print what was decided."""
    from pipelines.config.targets import configured_target
    from pipelines.writeback.actor import current_actor
    from pipelines.writeback.ledger_access import open_ledger

    with handle_errors(as_json):
        target = configured_target(destination)
        with open_ledger(target, identified_by=COMMAND_LINE) as ledger:
            result = decide(ledger, actor=current_actor(who))
        _render_decision(result, target, as_json)


def _render_decision(result: DecisionResult, target: Target, as_json: bool) -> None:
    """Print the changes that were approved, rejected or withdrawn; fail if any was refused."""
    from . import render_changes
    from .change_table import render_table
    from .labels import labels

    known = labels(target, result.decided)
    if as_json and result.refused:
        print_json(render_changes.decision_json(result, known))
        raise typer.Exit(ChangeRefused.exit_code)
    if as_json:
        print_json([render_changes.change_json(change, known) for change in result.decided])
    elif result.decided:
        render_table(result.decided, known)
    if result.refused:
        raise ChangeRefused("nothing was decided on:", *result.refused.values())
