"""Recovering a lost ledger from its copy in the warehouse, so that no event is ever lost.

What was sent cannot be read again from anywhere else. So a ledger that knows less than its copy is
neither used nor copied over it.
"""

from __future__ import annotations

from warehouse.account import AccountBinding
from warehouse.errors import LedgerDamaged
from warehouse.words import counted

from . import schema
from .account_binding import bind_account, bound_account
from .chain import anchor, chain_problems
from .change import AT_MOST, Action, Change, Event, Status
from .closes import close_keys, restore_closes
from .mirror import CopyEnd, LedgerCopy
from .rows import change_values, event_values, link_values
from .store import Ledger
from .transfer import write_rows

ACTOR = "milestones restore"  # who moves a restored change, as its events name it
_MAY_HAVE_BEEN_SENT = (
    "the ledger was restored, and this change may have been sent since that copy was made"
)
_KEEP_ONE = (
    "Nothing was changed. Keep one of them: "
    "milestones restore --ledger-from warehouse --reason TEXT, or --ledger-from ledger"
)


class LostLedger(Exception):
    """The ledger has no event and no closed month, and its copy in the warehouse has some."""


def ensure_complete(ledger: Ledger, copy: CopyEnd) -> None:
    """Check that the ledger has what its copy has, of which it could need a recovery.

    Args:
        ledger: The ledger.
        copy: The end of the copy, read before the ledger was opened.

    Raises:
        LostLedger: If the ledger has no event and no closed month at all.
        LedgerDamaged: If it has others than the copy.
    """
    _ensure_has_event(ledger, copy)
    closes = close_keys(ledger)
    missing = next((key for key in copy.closes if not key.is_in(closes)), None)
    if missing is None:
        return
    if not closes and not ledger.events():
        raise LostLedger
    raise LedgerDamaged(
        f"the warehouse's copy of the ledger has the closed month number {missing.close_number}, "
        f"which the ledger {ledger.name} does not have as it was. {_KEEP_ONE}"
    )


def _ensure_has_event(ledger: Ledger, copy: CopyEnd) -> None:
    """Check that the ledger has the last event of its copy; raise as ``ensure_complete`` does."""
    if (last := copy.event) is None:
        return
    own = [recorded.event for recorded in ledger.history(last.event.change_id)]
    if _content(last.event) in map(_content, own):
        return
    events = ledger.events()
    if not events and not close_keys(ledger):
        raise LostLedger
    its_last = (
        f"its last event is {events[-1].number}, of {events[-1].at:%Y-%m-%d %H:%M:%S} UTC"
        if events
        else "it has no event"
    )
    raise LedgerDamaged(
        f"the warehouse's copy of the ledger has event {last.event.number} "
        f"({last.event.change_id}, {last.event.after}, {last.event.at:%Y-%m-%d %H:%M:%S} UTC), "
        f"which the ledger {ledger.name} does not have; {its_last}. {_KEEP_ONE}"
    )


def _content(event: Event) -> tuple[object, ...]:
    """Return what identifies an event for a recovery, in the ledger and in its copy."""
    return event.number, event.change_id, event.at, event.before, event.after, event.who, event.what


def recover(ledger: Ledger, copy: LedgerCopy, account: AccountBinding | None) -> None:
    """Recover the ledger from its copy: add what it lacks, in one transaction.

    Args:
        ledger: The ledger. Its events must be the first ones of the copy, or it must have none.
        copy: The copy of the ledger in the warehouse.
        account: The account that the warehouse was filled from; None if it is not known.

    Raises:
        LedgerDamaged: If the copy was altered, or the ledger has events that the copy lacks.
    """
    events = [copied.event for copied in copy.events]
    links = [copied.link for copied in copy.events if copied.link]
    if not links and events:  # the copy of a release without the chain
        links = [anchor(events)]
    if problems := chain_problems(events, links):
        raise LedgerDamaged(
            f"the copy of the ledger in the warehouse was altered: {problems[0]}. Nothing was "
            "restored. Restore the ledger from a backup"
        )
    with ledger.transaction():
        own = ledger.events()
        if list(map(_content, own)) != list(map(_content, events[: len(own)])):
            raise LedgerDamaged(
                f"the ledger {ledger.name} has events that its copy in the warehouse lacks, and "
                "they cannot be removed. Restore its database from a backup"
            )
        write_rows(
            ledger,
            {
                schema.changes: [change_values(n, c) for n, c in enumerate(copy.changes, 1)],
                schema.events: [event_values(event) for event in events],
                schema.chain: [link_values(link) for link in links],
            },
        )
        restore_closes(ledger, copy.closes)
        mark_as_unknown(ledger)
    if account is not None and bound_account(ledger) is None:
        bind_account(ledger, account)


def mark_as_unknown(ledger: Ledger) -> None:
    """Mark each change that may have been sent as unknown, so that a recovery sends nothing twice.

    The next push looks for each in Kantata first.
    """
    now = ledger.now()
    may_have_been_sent = {Status.APPROVED, Status.APPLYING, Status.UNKNOWN}
    for change in ledger.changes(frozenset(may_have_been_sent)):
        if change.status is Status.APPROVED:
            change = ledger.mark_sending(
                change,
                who=ACTOR,
                what=_MAY_HAVE_BEEN_SENT,
                at=now,
                twins=change.twins,
                seen_updated_at=change.seen_updated_at or _latest_update(ledger, change),
            )
        if change.status is Status.APPLYING:
            ledger.transition(change, Status.UNKNOWN, who=ACTOR, what=_MAY_HAVE_BEEN_SENT)
        else:
            ledger.correct_sent_at(
                change, now, who=ACTOR, what=_MAY_HAVE_BEEN_SENT, looked_at=change.looked_at
            )


def _latest_update(ledger: Ledger, change: Change) -> str | None:
    """Return the ``seen_updated_at`` of an approved update that may have been sent.

    It was not sent before its approval. So a milestone that was edited later, and has its old
    values, may have been written and then put back.
    """
    if change.action is not Action.UPDATE:
        return None
    approvals = [
        event.at
        for event in ledger.events(change.change_id)
        if event.after is Status.APPROVED and event.before is not Status.APPROVED
    ]
    return f"{AT_MOST}{approvals[-1].isoformat()}" if approvals else None


def describe(copy: LedgerCopy) -> str:
    """Return how much a recovery restores from this copy, for people."""
    parts = []
    if copy.events:
        last = copy.events[-1].event
        parts.append(
            f"{counted(len(copy.changes), 'change')} and {counted(len(copy.events), 'event')}, the "
            f"last of {last.at:%Y-%m-%d %H:%M:%S} UTC"
        )
    if copy.closes:
        parts.append(counted(len(copy.closes), "closed month"))
    return "; ".join(parts)
