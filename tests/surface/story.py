"""An account whose story is always the same, to the second, so that it can be begun again.

Its clock stands still unless it is moved: the account that a committed warehouse was read from is
made again from its seed, the edits below and the changes that were pushed.
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
    """The account as it is when the story begins."""
    account = Account.seeded(MILESTONES, SEED, START)
    account.clock = StillClock(START)
    return account


def free(account: Account) -> list[str]:
    """Milestones that no invoice has, the oldest first."""
    held = account.true_milestones
    return sorted((i for i in held if not account.invoices_of.get(i)), key=int)


def first_hour(account: Account) -> None:
    """What people do before the second sync: edits, a delete, an invoice, a field, a bad amount."""
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
    """What people do between a proposal and its push."""
    account.advance(HOUR)
    account.update_milestone(conflict, title="edited meanwhile")
    account.update_milestone(no_op, title="as asked")


def repeat_writes(account: Account, changes: Iterable[Mapping[str, Any]]) -> None:
    """What pushed changes did to the account.

    Args:
        account: As it was before the push.
        changes: As ``changes --all --json`` shows them, the oldest first.
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
    """One more edit, hours later; gives the milestone's id."""
    account.advance(HOUR)
    id_ = free(account)[0]
    account.update_milestone(id_, title="edited by the next release", amount_in_cents=987_654)
    return id_


def memory(account: Account) -> dict[str, object]:
    """All that the account holds, to compare two accounts."""
    names = ("workspaces", "stories", "invoices", "external_references", "invoices_of")
    held: dict[str, object] = {name: getattr(account, name) for name in names}
    return held | {
        "milestones": {i: account.milestone(i) for i in account.true_milestones},
        "events": list(account.events),
        "time": account.clock.now(),
    }
