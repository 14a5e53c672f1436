"""A change request: what is asked, by whom, and how far it has come. Plain values only.

proposed -> approved | rejected | withdrawn
approved -> applying | withdrawn
applying -> applied | conflict | failed | unknown | approved   (approved: it never arrived)
unknown  -> applied | approved | conflict                      (only after reading back)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum

Value = str | int | None
Image = Mapping[str, Value]  # a milestone, or a part of one, as people and the ledger see it
Units = Mapping[str, Decimal]  # what one subunit of a currency is worth, by ISO code


class Action(StrEnum):
    """What is to be done with a milestone."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class Status(StrEnum):
    """How far a change has come."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    APPLYING = "applying"  # it may be on its way at this moment
    APPLIED = "applied"
    CONFLICT = "conflict"  # the account is not what the proposer saw: nothing was written
    FAILED = "failed"  # Kantata refused it
    UNKNOWN = "unknown"  # sent, and nobody knows what became of it


TRANSITIONS: Mapping[Status, frozenset[Status]] = {
    Status.PROPOSED: frozenset({Status.APPROVED, Status.REJECTED, Status.WITHDRAWN}),
    Status.APPROVED: frozenset({Status.APPLYING, Status.WITHDRAWN}),
    Status.APPLYING: frozenset(
        {Status.APPLIED, Status.CONFLICT, Status.FAILED, Status.UNKNOWN, Status.APPROVED}
    ),
    Status.UNKNOWN: frozenset({Status.APPLIED, Status.APPROVED, Status.CONFLICT}),
    Status.REJECTED: frozenset(),
    Status.WITHDRAWN: frozenset(),
    Status.APPLIED: frozenset(),
    Status.CONFLICT: frozenset(),
    Status.FAILED: frozenset(),
}
OPEN = frozenset(status for status, onward in TRANSITIONS.items() if onward)


@dataclass(frozen=True)
class Draft:
    """What somebody asks for.

    Args:
        action: What is to be done.
        milestone_id: With which milestone; None for one to be created.
        workspace_id: In which project.
        currency: ISO code, to show amounts in.
        after: The fields to write, as Kantata takes them; none for a delete.
        before: The milestone as the proposer saw it; nothing for a create.
        reason: Why.
        proposer: Who asks.
        duplicate: Whether a create may be equal to another one.
    """

    action: Action
    milestone_id: str | None
    workspace_id: str
    currency: str | None
    after: Image
    before: Image
    reason: str
    proposer: str
    duplicate: bool = False

    @property
    def digest(self) -> str:
        """Of all that is approved, so that nothing else can be sent."""
        # A create gets its milestone's id when it is done, which was not there to be approved.
        id_ = None if self.action is Action.CREATE else self.milestone_id
        content = [
            self.action, id_, self.workspace_id, self.currency, dict(self.after),
            dict(self.before), self.reason, self.proposer, self.duplicate,
        ]  # fmt: skip
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def twin_key(self) -> str | None:
        """Equal for creates of the same milestone; None if that does not matter."""
        if self.action is not Action.CREATE or self.duplicate:
            return None
        return json.dumps(duplicate_fields(self.after), ensure_ascii=False)


def duplicate_fields(image: Image) -> list[Value]:
    """What makes two milestones look the same to a person."""
    return [image.get(n) for n in ("workspace_id", "title", "amount_in_cents", "date_to_invoice")]


def value_words(name: str, value: Value, currency: Value, units: Units) -> str:
    """A value as a person reads it: amounts in the currency's own money, if its unit is known."""
    if value is None:
        return "none"
    if name != "amount_in_cents" or not isinstance(value, int):
        return str(value)
    unit = units.get(str(currency))
    if unit is None:
        return f"{value:,} subunits of {currency or 'an unknown currency'}"
    return f"{value * unit.normalize():,f} {currency}"


@dataclass(frozen=True)
class Change(Draft):
    """A draft in the ledger.

    Args:
        change_id: Its name, which is also the external reference of what it creates.
        status: How far it has come.
        approved_digest: What was approved; None before.
        approver: Who approved it.
        attempts: How often it was sent.
        sent_at: When it was sent last, UTC.
        twins: Ids of equal milestones that were there before it was sent.
        proposed_at: When, UTC.
        outcome: What became of it, in words.
        seen_updated_at: When its milestone was last changed, as Kantata said before it was sent.
    """

    change_id: str = ""
    status: Status = Status.PROPOSED
    approved_digest: str | None = None
    approver: str | None = None
    attempts: int = 0
    sent_at: datetime | None = None
    twins: tuple[str, ...] = ()
    proposed_at: datetime | None = None
    outcome: str = ""
    seen_updated_at: str | None = None


@dataclass(frozen=True)
class Event:
    """Something that happened to a change; never altered, never removed.

    Args:
        number: Rises with time, over all changes.
        change_id: Which change.
        at: When, UTC.
        before: Its status before; None when it was proposed.
        after: Its status after; the same for a remark.
        who: Who did it.
        what: What happened, in words.
        request_id: Kantata's name for the request, if there was one.
        db_user: The database's user who wrote this, on Postgres.
    """

    number: int
    change_id: str
    at: datetime
    before: Status | None
    after: Status
    who: str
    what: str
    request_id: str | None
    db_user: str | None
