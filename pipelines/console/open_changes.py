"""Changes as the console shows them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal

from pipelines.config.secrets import mask_secrets
from pipelines.writeback.net_effect import NetEffect, amounts, net_effects
from pipelines.writeback.row_findings import row_findings
from warehouse.errors import NoLedger
from warehouse.ledger.change import OPEN, Action, Change, Status
from warehouse.ledger.store import Ledger
from warehouse.ledger.trust import is_same_person
from warehouse.ledger.verification import untrusted_changes
from warehouse.lookup import project_titles
from warehouse.raw.summary import minor_units
from warehouse.shared_reader import SharedReader

from .roles import Identity, Role
from .services import Console
from .view_text import field_name, field_text, subunits_text

_NO_CAUSE = frozenset({Status.PROPOSED, Status.APPROVED, Status.APPLIED})


@dataclass(frozen=True)
class FieldLine:
    """What a change does to a field, as text."""

    name: str
    before: str
    after: str


@dataclass(frozen=True, kw_only=True)
class ShownChange:
    """A change as the console shows it.

    Args:
        change: The change.
        title: The milestone's title.
        project: The title of its project, or its id.
        before, after: The amounts as text; empty if there is none.
        fields: What it does to each field but the amount.
        findings: What the warehouse says against it.
        untrusted: Why a push will not send it; empty if it will.
        is_own: Whether the person who looks at it proposed it.
        may_approve, may_reject, may_withdraw: Whether they may.
        outcome: The reason for its status, if that is not clear.
    """

    change: Change
    title: str
    project: str
    before: str
    after: str
    fields: Sequence[FieldLine]
    findings: Sequence[str]
    untrusted: str
    is_own: bool
    may_approve: bool
    may_reject: bool
    may_withdraw: bool
    outcome: str

    @property
    def pick(self) -> str:
        """The change's id and digest, for one field of a form."""
        return f"{self.change.change_id} {self.change.digest}"


@dataclass(frozen=True)
class ShownEffect:
    """The net effect of some changes in one currency, as text."""

    currency: str
    before: str
    after: str
    net: str
    changes: int


def show_changes(
    reader: SharedReader, ledger: Ledger, changes: Sequence[Change], identity: Identity
) -> list[ShownChange]:
    """Return changes as the console shows them.

    Args:
        reader: The warehouse.
        ledger: The ledger they are in.
        changes: The changes.
        identity: The person who looks at them.
    """
    units = minor_units(reader)
    titles = project_titles(reader, {change.workspace_id for change in changes})
    findings = row_findings(reader, changes, units)
    approved = [change for change in changes if change.status is Status.APPROVED]
    untrusted = untrusted_changes(ledger, approved)
    return [
        _shown(change, identity, units, titles, findings, untrusted.get(change.change_id, ""))
        for change in changes
    ]


def _shown(
    change: Change,
    identity: Identity,
    units: Mapping[str, Decimal],
    titles: Mapping[str, str | None],
    findings: Mapping[str, Sequence[str]],
    untrusted: str,
) -> ShownChange:
    """Return one change as the console shows it."""
    before, after = (
        "" if value is None else subunits_text(value, change.currency, units)
        for value in amounts(change)
    )
    title = (change.before or change.after).get("title")
    is_own = is_same_person(identity.name, change.proposer)
    is_proposed, is_approver = change.status is Status.PROPOSED, identity.role.may(Role.APPROVER)
    is_unsent = change.status in (Status.PROPOSED, Status.APPROVED)
    return ShownChange(
        change=change,
        title="no title" if title is None else str(title),
        project=titles.get(change.workspace_id) or f"project {change.workspace_id}",
        before=before,
        after=after,
        fields=field_lines(change, units),
        findings=findings.get(change.change_id, ()),
        untrusted=untrusted,
        is_own=is_own,
        may_approve=is_proposed and is_approver and not is_own,
        may_reject=is_proposed and is_approver,
        may_withdraw=is_unsent and (is_approver or (is_own and identity.role.may(Role.PROPOSER))),
        outcome="" if change.status in _NO_CAUSE else mask_secrets(change.outcome),
    )


def field_lines(change: Change, units: Mapping[str, Decimal]) -> list[FieldLine]:
    """Return what a change does to each field of its milestone but the amount."""
    if change.action is Action.DELETE:
        return []
    return [
        FieldLine(
            field_name(name),
            field_text(name, change.before.get(name), change.currency, units)
            if change.action is Action.UPDATE
            else "",
            field_text(name, value, change.currency, units),
        )
        for name, value in change.after.items()
        if name not in ("amount_in_cents", "workspace_id")
        and not (change.action is Action.CREATE and name == "title")
    ]


def show_effects(reader: SharedReader, changes: Sequence[Change]) -> list[ShownEffect]:
    """Return the net effect of the open ones among changes, by currency."""
    units = minor_units(reader)
    effects = net_effects(change for change in changes if change.status in OPEN)
    return [_effect(effect, units) for effect in effects]


def _effect(effect: NetEffect, units: Mapping[str, Decimal]) -> ShownEffect:
    """Return the net effect of changes in one currency as text."""
    before, after, net = (
        subunits_text(value, effect.currency, units)
        for value in (effect.before, effect.after, effect.net)
    )
    return ShownEffect(
        effect.currency or "no currency",
        before,
        after,
        f"+{net}" if effect.net > 0 else net,
        effect.changes,
    )


def open_change_of(
    console: Console, reader: SharedReader, identity: Identity, milestone_id: str
) -> ShownChange | None:
    """Return the open change of a milestone; None if it has none."""
    try:
        with console.ledger(reader, identity) as ledger:
            found = [c for c in ledger.changes(OPEN) if c.milestone_id == milestone_id]
            return next(iter(show_changes(reader, ledger, found, identity)), None)
    except NoLedger:
        return None
