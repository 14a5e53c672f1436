"""Asking for changes: what is asked is checked at once, against what the warehouse shows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from warehouse.errors import ChangeRefused
from warehouse.ledger.change import OPEN, Action, Change, Draft, Image, Status, Value
from warehouse.ledger.store import Ledger
from warehouse.reader import WarehouseReader

from .fields import FOR_CREATE, WRITABLE, check_text, parse_field
from .ledger_lookup import LedgerLookup
from .requests import ChangeRequest, refuse_problems
from .warehouse_lookup import WarehouseLookup

_REQUIRED = ("workspace_id", "title", "amount_in_cents")


@dataclass(frozen=True)
class ProposalResult:
    """What became of an ask.

    Args:
        change_id: The change; None if there is nothing to change.
        note: Why nothing new was proposed; empty if something was.
        where: Which line or row it was; empty if it was the only one.
    """

    change_id: str | None
    note: str = ""
    where: str = ""


def propose(
    ledger: Ledger,
    query: WarehouseReader,
    asks: Sequence[ChangeRequest],
    who: str,
    duplicate: bool = False,
) -> list[ProposalResult]:
    """Check asks against the warehouse and write them to the ledger, all or none.

    Args:
        ledger: Where they go.
        query: The warehouse.
        asks: What is asked.
        who: Who asks.
        duplicate: Whether a create may be equal to another one.

    Returns:
        What became of each, in order.

    Raises:
        ChangeRefused: With one line for each that cannot be; nothing is proposed then.
    """
    facts, held = (
        WarehouseLookup(query, asks),
        LedgerLookup(ledger.changes(OPEN | {Status.APPLIED})),
    )
    problems: list[str] = []
    results: list[ProposalResult | Draft] = []
    for ask in asks:
        try:
            results.append(_draft_or_result(ask, facts, held, check_text("--as", who), duplicate))
        except _NothingToChange as nothing:
            if not ask.where:
                raise ChangeRefused(str(nothing)) from None
            results.append(ProposalResult(None, str(nothing), ask.where))
        except ChangeRefused as error:
            problems.append(f"{ask.where}: {error}" if ask.where else str(error))
    refuse_problems(problems, "nothing was proposed" if any(ask.where for ask in asks) else "")
    drafts = [result for result in results if isinstance(result, Draft)]
    ids = iter(ledger.propose(drafts))
    return [
        ProposalResult(next(ids), where=ask.where) if isinstance(result, Draft) else result
        for ask, result in zip(asks, results, strict=True)
    ]


class _NothingToChange(Exception):
    """The warehouse shows already what is asked."""


def _draft_or_result(
    ask: ChangeRequest, facts: WarehouseLookup, held: LedgerLookup, who: str, duplicate: bool
) -> ProposalResult | Draft:
    held.claim_milestone(ask)
    wanted = _requested_values(ask)
    # A person who types it again wants it again; a file may be given twice by mistake.
    if ask.where and (change := held.previous_change(ask, wanted)) is not None:
        return ProposalResult(
            change.change_id, _why_not_again(change, ask, wanted, facts), ask.where
        )
    draft = _build_draft(ask, wanted, facts, who, duplicate)
    held.check_conflicts(draft, ask.where)
    if draft.twin_key and (equal := facts.twins(draft.after)):
        raise ChangeRefused(
            f"project {draft.workspace_id} has an equal milestone, {', '.join(equal)}: "
            "--allow-duplicate if another one is meant"
        )
    return draft


def _why_not_again(
    change: Change, ask: ChangeRequest, wanted: Image, facts: WarehouseLookup
) -> str:
    """Why a line is not proposed again, and what to do for who means it."""
    if change.status is not Status.APPLIED:
        return f"{change.status} already"
    if ask.action is Action.UPDATE and not facts.shows(ask.milestone_id, wanted):
        return (
            "applied already, and the milestone is different again: to ask for it once more, "
            f"use `milestones propose update {ask.milestone_id}`"
        )
    if ask.action is Action.CREATE:
        return "applied already: for another one, use `milestones propose create --allow-duplicate`"
    return "applied already"


def _requested_values(ask: ChangeRequest) -> dict[str, Value]:
    """The fields that are asked for, as Kantata takes them."""
    if not check_text("reason", ask.reason).strip():
        raise ChangeRefused("a reason is missing (--reason, or a column reason)")
    allowed = {
        Action.CREATE: FOR_CREATE, Action.UPDATE: WRITABLE, Action.DELETE: (),
    }[ask.action]  # fmt: skip
    if strange := [name for name in ask.fields if name not in allowed]:
        raise ChangeRefused(_not_writable(strange[0], ask.action, allowed))
    wanted = {name: parse_field(name, text) for name, text in ask.fields.items()}
    if ask.action is Action.CREATE:
        # What Kantata takes if none is given is not known, so it is always given.
        wanted.setdefault("billing_type", "fixed_date")
    return wanted


def _build_draft(
    ask: ChangeRequest, after: dict[str, Value], facts: WarehouseLookup, who: str, duplicate: bool
) -> Draft:
    if ask.action is Action.CREATE:
        return _build_create(ask, after, facts, who, duplicate)
    before = facts.milestone(ask.milestone_id)
    project = str(before["workspace_id"])
    if ask.action is Action.UPDATE:
        if not after:
            raise ChangeRefused("nothing is set: --set NAME=VALUE")
        after = {name: value for name, value in after.items() if before[name] != value}
        if not after:
            raise _NothingToChange(f"milestone {ask.milestone_id} is like that already")
        _check_story({**before, **after}, project, facts)
    if why := facts.invoiced(before):
        raise ChangeRefused(f"milestone {ask.milestone_id} cannot be changed: {why}")
    currency = before["currency"]
    return Draft(
        ask.action, ask.milestone_id, project, None if currency is None else str(currency),
        after, before, ask.reason.strip(), who,
    )  # fmt: skip


def _build_create(
    ask: ChangeRequest, after: dict[str, Value], facts: WarehouseLookup, who: str, duplicate: bool
) -> Draft:
    if ask.milestone_id is not None:
        raise ChangeRefused(f"a create has no milestone_id, and {ask.milestone_id} is given")
    if lacking := [name for name in _REQUIRED if name not in after]:
        raise ChangeRefused(f"{' and '.join(lacking)} must be set")
    project = str(after["workspace_id"])
    currency = facts.project(project)
    _check_story(after, project, facts)
    return Draft(
        Action.CREATE, None, project, currency, after, {}, ask.reason.strip(), who, duplicate
    )


def _not_writable(name: str, action: Action, allowed: Sequence[str]) -> str:
    if action is Action.DELETE:
        return f"a delete sets nothing, and {name} is set"
    if name == "workspace_id":
        return "a milestone cannot be moved to another project: Kantata has no way to"
    return f"{name} cannot be written; these can: {', '.join(allowed)}"


def _check_story(fields: Mapping[str, Value], project: str, facts: WarehouseLookup) -> None:
    story = fields.get("story_id")
    if fields.get("billing_type") == "upon_completion" and story is None:
        raise ChangeRefused("billing_type upon_completion needs a story_id")
    if story is not None and (of := facts.project_of_story(str(story))) not in (None, project):
        raise ChangeRefused(f"story_id {story} is a task of project {of}, not of {project}")
