"""Proposals: change requests are checked against the warehouse, and written to the ledger."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date

from pipelines.runtime.clock import utc_now
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import OPEN, Action, Change, Draft, Image, Status, Value
from warehouse.ledger.store import Ledger
from warehouse.reader import WarehouseReader

from .fields import FOR_CREATE, WRITABLE, check_text, minor_units_of, parse_field
from .ledger_lookup import LedgerLookup
from .requests import ChangeRequest, refuse_problems
from .warehouse_lookup import WarehouseLookup

_REQUIRED = ("workspace_id", "title", "amount_in_cents")
_UNUSUAL_YEARS = 10
_ALLOWED: Mapping[Action, Sequence[str]] = {
    Action.CREATE: FOR_CREATE,
    Action.UPDATE: WRITABLE,
    Action.DELETE: (),
}


@dataclass(frozen=True)
class ProposalResult:
    """The result of a change request.

    Args:
        change_id: The id of the change; None if there is nothing to change.
        note: The reason why nothing new was proposed; empty if something was.
        where: Its place in a file or query, such as ``line 3``; empty if it was a single request.
    """

    change_id: str | None
    note: str = ""
    where: str = ""


def propose_changes(
    ledger: Ledger,
    reader: WarehouseReader,
    requests: Sequence[ChangeRequest],
    *,
    proposer: str,
    allow_duplicate: bool = False,
    allow_unusual: bool = False,
) -> list[ProposalResult]:
    """Check change requests against the warehouse, and propose all in the ledger or none.

    Args:
        ledger: The ledger of changes.
        reader: The warehouse.
        requests: The change requests.
        proposer: The person who requests them.
        allow_duplicate: Whether a create may equal an existing milestone or another create.
        allow_unusual: Whether a date may be more than ten years away.

    Returns:
        The result of each, in order.

    Raises:
        ChangeRefused: If any cannot be proposed, with a line for each; nothing is proposed then.
    """
    check = _ProposalCheck(
        warehouse=WarehouseLookup(reader, requests),
        ledger=LedgerLookup(ledger.changes(OPEN | {Status.APPLIED})),
        proposer=proposer,
        allow_duplicate=allow_duplicate,
        allow_unusual=allow_unusual,
    )
    checked = _check_all(check, requests)
    ids = iter(ledger.propose([result for result in checked if isinstance(result, Draft)]))
    return [
        ProposalResult(next(ids), where=request.where) if isinstance(result, Draft) else result
        for request, result in zip(requests, checked, strict=True)
    ]


def _check_all(
    check: _ProposalCheck, requests: Sequence[ChangeRequest]
) -> list[ProposalResult | Draft]:
    """Return the draft of each proposal, or a result if there is nothing to propose."""
    problems: list[str] = []
    checked: list[ProposalResult | Draft] = []
    for request in requests:
        try:
            checked.append(check.draft_or_result(request))
        except _NothingToChange as nothing:
            if not request.where:
                raise ChangeRefused(str(nothing)) from None
            checked.append(ProposalResult(None, str(nothing), request.where))
        except ChangeRefused as error:
            problems.append(f"{request.where}: {error}" if request.where else str(error))
    is_file = any(request.where for request in requests)
    refuse_problems(problems, "nothing was proposed" if is_file else "")
    return checked


class _NothingToChange(Exception):
    """The milestone already has the requested values."""


@dataclass(frozen=True, kw_only=True)
class _ProposalCheck:
    """Checks change requests, one after the other.

    Args:
        warehouse: The rows of the warehouse that they name.
        ledger: The changes that were proposed before.
        proposer: The person who requests them.
        allow_duplicate: Whether a create may equal an existing milestone or another create.
        allow_unusual: Whether a date may be more than ten years away.
    """

    warehouse: WarehouseLookup
    ledger: LedgerLookup
    proposer: str
    allow_duplicate: bool
    allow_unusual: bool

    def draft_or_result(self, request: ChangeRequest) -> ProposalResult | Draft:
        """Return the draft of a proposal, or its result if it was proposed before.

        Raises:
            ChangeRefused: If it cannot be proposed.
            _NothingToChange: If the milestone already has the requested values.
        """
        check_text("--as", self.proposer)
        self.ledger.claim_milestone(request)
        self.warehouse.check_currency(request)
        values = self._requested_values(request)
        # A person who types a request again means it; a file may be given twice by mistake.
        if request.where and (change := self.ledger.previous_change(request, values)) is not None:
            note = self._why_not_again(change, request, values)
            return ProposalResult(change.change_id, note, request.where)
        draft = self._draft(request, values)
        self._check_day(draft)
        self.ledger.check_conflicts(draft, request.where)
        if draft.twin_key and (equal := self.warehouse.duplicates(draft.after)):
            raise ChangeRefused(
                f"project {draft.workspace_id} already has an equal milestone, {', '.join(equal)}. "
                "To create another one, add --allow-duplicate"
            )
        return draft

    def _why_not_again(self, change: Change, request: ChangeRequest, values: Image) -> str:
        """Return why a line is not proposed again, and how to propose it anyway."""
        if change.status is not Status.APPLIED:
            return f"already {change.status}"
        id_ = request.milestone_id
        if request.action is Action.UPDATE and not self.warehouse.has_values(id_, values):
            return (
                "already applied, and the milestone was edited since then. To propose it again, "
                f"use `milestones propose update {id_}`"
            )
        if request.action is Action.CREATE:
            return (
                "already applied. To create another one, use "
                "`milestones propose create --allow-duplicate`"
            )
        return "already applied"

    def _draft(self, request: ChangeRequest, values: dict[str, Value]) -> Draft:
        """Return the draft of a proposal; refuse one for a milestone that counts as invoiced."""
        if request.action is Action.CREATE:
            return self._draft_create(request, values)
        current = self.warehouse.milestone(request.milestone_id)
        # Not the values of today: what others did since then ends as a conflict, and stays.
        before = current if request.seen is None else request.seen
        if request.action is Action.UPDATE:
            values = self._changed_values(request, values, before)
        if why := self.warehouse.invoiced_reason(current):
            raise ChangeRefused(f"milestone {request.milestone_id} cannot be changed: {why}")
        currency = before["currency"]
        return Draft(
            action=request.action,
            milestone_id=request.milestone_id,
            workspace_id=str(before["workspace_id"]),
            currency=None if currency is None else str(currency),
            after=values,
            before=before,
            reason=request.reason.strip(),
            proposer=self.proposer,
        )

    def _changed_values(
        self, request: ChangeRequest, values: Image, before: Image
    ) -> dict[str, Value]:
        """Return the values of a proposed update that its milestone does not have yet."""
        if not values:
            raise ChangeRefused("nothing is set: add --set NAME=VALUE, or fill a column")
        changed = {name: value for name, value in values.items() if before[name] != value}
        if not changed:
            raise _NothingToChange(f"milestone {request.milestone_id} already has these values")
        self._check_task({**before, **changed}, str(before["workspace_id"]))
        return changed

    def _draft_create(self, request: ChangeRequest, values: dict[str, Value]) -> Draft:
        """Return the draft of a proposed create, with the currency of its project."""
        if request.milestone_id is not None:
            raise ChangeRefused(
                f"a create has no milestone_id, but {request.milestone_id} is given: remove it"
            )
        if lacking := [name for name in _REQUIRED if name not in values]:
            raise ChangeRefused(f"{' and '.join(lacking)} must be set")
        project = str(values["workspace_id"])
        currency = self.warehouse.project_currency(project)
        self._check_task(values, project)
        return Draft(
            action=Action.CREATE,
            milestone_id=None,
            workspace_id=project,
            currency=currency,
            after=values,
            before={},
            reason=request.reason.strip(),
            proposer=self.proposer,
            duplicate=self.allow_duplicate,
        )

    def _requested_values(self, request: ChangeRequest) -> dict[str, Value]:
        """Parse the fields of a proposal into values that Kantata accepts."""
        values = _parsed_values(request)
        if (amount := values.pop("amount", None)) is None:
            return values
        currency, unit = self.warehouse.minor_unit(request)
        subunits = minor_units_of(str(amount), unit, currency)
        if values.setdefault("amount_in_cents", subunits) != subunits:
            raise ChangeRefused(
                f"amount is {amount} {currency}, which is {subunits} minor units, but "
                f"amount_in_cents is {values['amount_in_cents']}: give one of them"
            )
        return values

    def _check_day(self, draft: Draft) -> None:
        """Refuse a date that is probably a typing error, unless the proposer confirms it."""
        day = draft.after.get("date_to_invoice")
        if day is None or self.allow_unusual:
            return
        today = utc_now().date()
        earlier, later = sorted([today, date.fromisoformat(str(day))])
        ten_years_before = (later.year - _UNUSUAL_YEARS, later.month, later.day)
        if (earlier.year, earlier.month, earlier.day) < ten_years_before:
            raise ChangeRefused(
                f"date_to_invoice is {day}, more than ten years away: correct it, or add --unusual"
            )

    def _check_task(self, fields: Mapping[str, Value], project: str) -> None:
        """Refuse a proposal whose task is missing or belongs to another project."""
        task = fields.get("story_id")
        if fields.get("billing_type") == "upon_completion" and task is None:
            raise ChangeRefused("billing_type upon_completion needs a story_id: set one")
        if task is None:
            return
        if (of := self.warehouse.project_of_task(str(task))) not in (None, project):
            raise ChangeRefused(f"story_id {task} is a task of project {of}, not of {project}")


def _parsed_values(request: ChangeRequest) -> dict[str, Value]:
    """Parse the fields of a proposal into values that Kantata accepts."""
    if not check_text("reason", request.reason).strip():
        raise ChangeRefused("the reason is missing: add --reason, or fill a column reason")
    for name in request.fields:
        if name not in _ALLOWED[request.action]:
            raise ChangeRefused(_not_writable(name, request.action))
    values = {name: parse_field(name, text) for name, text in request.fields.items()}
    if request.action is Action.CREATE:
        # Kantata's default is not known, so a value is always sent.
        values.setdefault("billing_type", "fixed_date")
    return values


def _not_writable(name: str, action: Action) -> str:
    """Return the reason why a proposal cannot set a field."""
    if action is Action.DELETE:
        return f"a delete sets no fields, but {name} is set: remove it"
    if name == "workspace_id":
        return "Kantata cannot move a milestone to another project: remove workspace_id"
    return f"{name} cannot be written. Use {', '.join(_ALLOWED[action])}"
