"""Drafts, changes and events: what is proposed, by whom, and its status. Plain values only.

proposed -> approved | rejected | withdrawn
approved -> applying | withdrawn
applying -> applied | conflict | failed | unknown | approved   (approved: it was never received)
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
Image = Mapping[str, Value]  # fields of a milestone, by name
Units = Mapping[str, Decimal]  # the value of one minor unit, by currency


class Action(StrEnum):
    """What a change does to a milestone."""

    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"


class Status(StrEnum):
    """The status of a change."""

    PROPOSED = "proposed"
    APPROVED = "approved"
    REJECTED = "rejected"
    WITHDRAWN = "withdrawn"
    APPLYING = "applying"  # it may be being sent now
    APPLIED = "applied"
    CONFLICT = "conflict"  # the account differs from what the proposer saw: nothing was written
    FAILED = "failed"  # Kantata refused it
    UNKNOWN = "unknown"  # sent, and its result is not known


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
OPEN = frozenset(status for status, next_statuses in TRANSITIONS.items() if next_statuses)


@dataclass(frozen=True)
class Draft:
    """A change before it is in the ledger.

    Args:
        action: Create, update or delete.
        milestone_id: The milestone; None for a create.
        workspace_id: Its project.
        currency: The ISO code of its amounts, to show them.
        after: The fields to write, as Kantata accepts them; empty for a delete.
        before: The milestone as the proposer saw it; empty for a create.
        reason: Why, in the proposer's words.
        proposer: The person who proposes it.
        duplicate: Whether a create may equal another one.
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
        """The SHA-256 of all that is approved in a draft; nothing that differs can be sent."""
        # A create has no milestone id when it is approved, and gets one when it is applied.
        id_ = None if self.action is Action.CREATE else self.milestone_id
        content = [
            self.action, id_, self.workspace_id, self.currency, dict(self.after),
            dict(self.before), self.reason, self.proposer, self.duplicate,
        ]  # fmt: skip
        text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()

    @property
    def equal_key(self) -> str | None:
        """A key that equal drafts to create share; None for others."""
        if self.action is not Action.CREATE:
            return None
        return json.dumps(duplicate_fields(self.after), ensure_ascii=False)

    @property
    def twin_key(self) -> str | None:
        """The key of a draft that must not equal another one; None for others."""
        return None if self.duplicate else self.equal_key


def duplicate_fields(image: Image) -> list[Value]:
    """Return the fields of a change that make two milestones look the same to a person."""
    return [image.get(n) for n in ("workspace_id", "title", "amount_in_cents", "date_to_invoice")]


def value_words(name: str, value: Value, currency: Value, units: Units) -> str:
    """Return a field's value in a change as text: an amount in money, if its unit is known."""
    if value is None:
        return "none"
    if name != "amount_in_cents" or not isinstance(value, int):
        return str(value)
    unit = units.get(str(currency))
    if unit is None:
        return f"{value:,} minor units of {currency or 'an unknown currency'}"
    return f"{value * unit.normalize():,f} {currency}"


#: Before a time in ``seen_updated_at`` that is only known to be the latest possible one.
AT_MOST = "<="


@dataclass(frozen=True)
class Change(Draft):
    """A draft in the ledger, with its status.

    Args:
        change_id: Its id, which is also the external reference of a milestone it creates.
        status: Its status.
        approved_digest: The digest that was approved; None before.
        approver: The person who approved it; None before.
        attempts: How often it was sent.
        sent_at: When it was last sent, UTC.
        twins: Ids of equal milestones that existed before it was sent.
        proposed_at: When it was proposed, UTC.
        outcome: The reason for its status, in words.
        seen_updated_at: Kantata's ``updated_at`` of the milestone, read before the change was sent.
            If a ledger was restored, and that is not known: ``AT_MOST``, and when it was approved.
        looked_at: When it was first looked for in the account and not found, UTC; None before.
        resends: How often it was approved again because it was not found.
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
    looked_at: datetime | None = None
    resends: int = 0


@dataclass(frozen=True)
class Event:
    """An event in the history of a change; events are never altered and never removed.

    Args:
        number: Its number in the ledger; later events have higher ones.
        change_id: The change.
        at: When it happened, UTC.
        before: The change's status before; None when it was proposed.
        after: Its status after; the same as before for a remark.
        who: The person or program that did it.
        what: What happened, in words.
        request_id: Kantata's id of the request; None if none was sent.
        db_user: The database user that wrote this, on Postgres.
        identified_by: How the program knew that it was this person; None for a program, and in
            ledgers of earlier releases.
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
    identified_by: str | None = None


#: How a person was identified: by a name that anybody can give, or verified by the console.
COMMAND_LINE = "command line"
CONSOLE_LOGIN = "console login"
PROXY_HEADER = "proxy header"
VERIFIED = frozenset({CONSOLE_LOGIN, PROXY_HEADER})
