"""An account whose story is always the same, to the second, so that it can be repeated.

Its clock only moves when it is advanced. So the account of a committed warehouse can be made again
from its seed, the edits below and the changes that were pushed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from sources.kantata_sandbox import Account
from sources.kantata_sandbox.clock import Clock

MILESTONES = 80
SEED = 17
START = datetime(2026, 11, 2, 12, tzinfo=UTC)
HOUR = 3600
AFTER_THE_PUSH = 60
NEW_FIELD = "billing_priority"
_SENT = ("applied", "unknown")


class StillClock(Clock):
    """A clock that only ``advance`` moves."""

    def __init__(self, start: datetime) -> None:
        self._now = start.timestamp()

    def now(self) -> int:
        """Seconds since 1970."""
        return int(self._now)

    def advance(self, seconds: float) -> None:
        """Move the clock on."""
        self._now += seconds


def new_account() -> Account:
    """The account at the start of the story."""
    account = Account.seeded(MILESTONES, SEED, START)
    account.clock = StillClock(START)
    return account


def free(account: Account) -> list[str]:
    """Milestones without an invoice, the oldest first."""
    milestones = account.true_milestones
    return sorted((i for i in milestones if not account.invoices_of.get(i)), key=int)


def first_hour(account: Account) -> None:
    """Make the changes before the second sync: edits, a deletion, an invoice, a field, a reject."""
    edited, deleted, invoiced, bad, *_ = free(account)
    account.advance(HOUR)
    account.add_field(NEW_FIELD, _priority)
    account.update_milestone(edited, title="Ångström, 日本", amount_in_cents=123_456)
    account.update_milestone(bad, title="half a cent")
    account.set_raw(bad, "amount_in_cents", 10.5)
    account.invoice_milestone(invoiced)
    account.delete_milestone(deleted)
    account.rename_workspace(next(iter(account.workspaces)), "Überarbeitet")


def _priority(record: Mapping[str, Any]) -> int:
    return int(record["id"]) % 3


def edit_meanwhile(account: Account, conflict: str, no_op: str) -> None:
    """Make the edits between a proposal and its push."""
    account.advance(HOUR)
    account.update_milestone(conflict, title="edited meanwhile")
    account.update_milestone(no_op, title="as asked")


def repeat_writes(account: Account, changes: Iterable[Mapping[str, Any]]) -> None:
    """Apply pushed changes to the account.

    Args:
        account: The account before the push.
        changes: The output of ``changes --all --json``, the oldest first.
    """
    for change in changes:
        if change["status"] not in _SENT or not change["attempts"]:
            continue
        fields, id_ = dict(change["after"]), change["milestone_id"]
        if change["action"] == "create":
            account.create_milestone(**fields, external_reference=reference(change))
        elif change["action"] == "update":
            account.update_milestone(id_, **fields)
        else:
            account.delete_milestone(id_)


def reference(change: Mapping[str, Any]) -> dict[str, object]:
    """The external reference that a create carries."""
    return {
        "service_name": "milestones",
        "service_model": "change",
        "service_model_ref": change["change_id"],
    }


def next_edit(account: Account) -> str:
    """Make one more edit, hours later; return the milestone's id."""
    account.advance(HOUR)
    id_ = free(account)[0]
    account.update_milestone(id_, title="edited by the next release", amount_in_cents=987_654)
    return id_


def memory(account: Account) -> dict[str, object]:
    """All records of the account, to compare two accounts."""
    names = ("workspaces", "stories", "invoices", "external_references", "invoices_of")
    records: dict[str, object] = {name: getattr(account, name) for name in names}
    return records | {
        "milestones": {i: account.milestone(i) for i in account.true_milestones},
        "events": list(account.events),
        "time": account.clock.now(),
    }
