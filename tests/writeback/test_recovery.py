"""A ledger is restored from its copy as it was, and only from a whole copy."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tests.support.ledgers import create, draft
from warehouse.account import AccountBinding
from warehouse.errors import LedgerDamaged
from warehouse.ledger.account_binding import bind_account, bound_account
from warehouse.ledger.change import Change, Status
from warehouse.ledger.closes import add_close, close_keys, read_closes
from warehouse.ledger.connection import connect_ledger
from warehouse.ledger.mirror import CopiedEvent, CopyEnd, LedgerCopy
from warehouse.ledger.period import PeriodClose
from warehouse.ledger.recovery import LostLedger, describe, ensure_complete, recover
from warehouse.ledger.store import Ledger
from warehouse.ledger.verification import check_ledger
from warehouse.raw.period_closes import CloseKey

AT = datetime(2027, 1, 1, 12, tzinfo=UTC)
LATER = AT + timedelta(hours=1)
ACCOUNT, OTHER = AccountBinding("kantata.example/api", "9"), AccountBinding("other.example", "8")


@pytest.fixture
def ledgers(tmp_path: Path) -> Iterator[tuple[Ledger, Ledger]]:
    """A ledger with a change in most statuses, and an empty one of an hour later."""
    with ExitStack() as stack:
        full, empty = (
            stack.enter_context(
                connect_ledger(f"sqlite:///{tmp_path / f'{at.hour}.sqlite'}", lambda at=at: at)
            )
            for at in (AT, LATER)
        )
        _fill(full)
        yield full, empty


def _fill(ledger: Ledger) -> None:
    """Propose seven changes, and take six of them further."""
    ids = ledger.propose([draft(str(n)) for n in range(1, 6)] + [create(), create(duplicate=True)])
    _, approved, applying, unknown, applied, create_looked_for, create_again = map(
        ledger.change, ids
    )
    sent: list[Change] = []
    for change in (approved, applying, unknown, applied, create_looked_for, create_again):
        change = ledger.approve(change, "bob")
        if change.change_id != approved.change_id:
            change = ledger.mark_sending(
                change, who="job", what="sending", at=AT, twins=("21", "22"), seen_updated_at="t"
            )
            sent.append(change)
    _, unknown, applied, create_looked_for, create_again = sent
    ledger.transition(unknown, Status.UNKNOWN, who="job", what="no answer", request_id="r1")
    ledger.transition(applied, Status.APPLIED, who="job", what="done", milestone_id="5")
    for change in (create_looked_for, create_again):
        change = ledger.transition(change, Status.UNKNOWN, who="job", what="no answer")
        ledger.record_look(change, AT, who="job", what="not found")
    ledger.approve_again(ledger.change(ids[6]), 1, who="job", what="not created")


def copy_of(ledger: Ledger) -> LedgerCopy:
    """The copy of a ledger."""
    links = {link.number: link for link in ledger.links()}
    events = [CopiedEvent(event, links.get(event.number)) for event in ledger.events()]
    return LedgerCopy(ledger.changes(), events)


def test_a_ledger_is_restored_as_it_was(ledgers: tuple[Ledger, Ledger]) -> None:
    """Each event is there once; what may have been sent since is unknown, and looked for first."""
    full, empty = ledgers
    copy = copy_of(full)
    recover(empty, copy, ACCOUNT)
    check_ledger(empty)
    assert empty.events()[: len(copy.events)] == full.events()
    assert empty.links()[: len(copy.events)] == full.links()
    for was in full.changes():
        now = empty.change(was.change_id)
        if was.status in (Status.PROPOSED, Status.APPLIED):
            assert now == was
            continue
        was_approved = was.status is Status.APPROVED
        assert now == replace(
            was,
            status=Status.UNKNOWN,
            outcome=now.outcome if was.status is not Status.UNKNOWN else was.outcome,
            attempts=was.attempts + was_approved,
            sent_at=AT if was.status is Status.APPLYING else LATER,
            looked_at=None if was_approved else was.looked_at,
            seen_updated_at=was.seen_updated_at or f"<={AT.isoformat()}",
        )
        last = empty.history(was.change_id)[-1].event
        assert last.what == (
            "the ledger was restored, and this change may have been sent since that copy was made"
        )
    assert bound_account(empty) == ACCOUNT
    assert {event.who for event in empty.events()[len(copy.events) :]} == {"milestones restore"}
    assert describe(replace(copy, events=copy.events[:3])) == (
        "7 changes and 3 events, the last of 2027-01-01 12:00:00 UTC"
    )
    hour_later = replace(copy.events[0], event=replace(copy.events[0].event, at=LATER))
    assert "the last of 2027-01-01 13:00:00 UTC" in describe(
        LedgerCopy([], [copy.events[1], hour_later])
    )


def test_a_ledger_is_restored_once(ledgers: tuple[Ledger, Ledger]) -> None:
    """What the ledger has is not added again, and its account stays."""
    full, _ = ledgers
    bind_account(full, OTHER)
    copy = copy_of(full)
    recover(full, copy, ACCOUNT)
    assert full.events()[: len(copy.events)] == [copied.event for copied in copy.events]
    assert bound_account(full) == OTHER
    check_ledger(full)


def test_a_copy_of_a_release_without_the_chain(ledgers: tuple[Ledger, Ledger]) -> None:
    """Its events have one link together, and name the database user that wrote them."""
    full, empty = ledgers
    copy = copy_of(full)
    events = [CopiedEvent(replace(e.event, db_user="loader"), None) for e in copy.events]
    recover(empty, replace(copy, events=events), None)
    check_ledger(empty)
    assert empty.events()[: len(events)] == [copied.event for copied in events]
    assert (empty.links()[0].number, empty.links()[0].draft_digest) == (len(copy.events), None)
    assert bound_account(empty) is None


def test_an_empty_copy(ledgers: tuple[Ledger, Ledger]) -> None:
    """It restores nothing."""
    recover(ledgers[1], LedgerCopy([], []), None)
    assert ledgers[1].events() == []


def test_an_altered_copy_is_refused(ledgers: tuple[Ledger, Ledger]) -> None:
    """Nothing is restored from a copy in which somebody altered an event."""
    full, empty = ledgers
    copy = copy_of(full)
    eve = replace(copy.events[1], event=replace(copy.events[1].event, who="eve"))
    with pytest.raises(LedgerDamaged, match="was altered: event 2"):
        recover(empty, replace(copy, events=[copy.events[0], eve, *copy.events[2:]]), ACCOUNT)
    assert empty.events() == []
    assert bound_account(empty) is None


def test_a_ledger_with_other_events_is_refused(ledgers: tuple[Ledger, Ledger]) -> None:
    """Events that the copy lacks cannot be removed, so nothing is restored."""
    full, other = ledgers
    other.propose([draft("9")])
    before = other.events()
    with pytest.raises(LedgerDamaged, match="events that its copy in the warehouse lacks"):
        recover(other, copy_of(full), ACCOUNT)
    assert other.events() == before


def test_a_ledger_is_complete_if_it_has_the_last_event_of_its_copy(
    ledgers: tuple[Ledger, Ledger],
) -> None:
    """One without any event is lost, one without that event is damaged."""
    full, other = ledgers
    last = copy_of(full).events[-1]
    ensure_complete(full, CopyEnd(last))
    ensure_complete(other, CopyEnd())
    with pytest.raises(LostLedger):
        ensure_complete(other, CopyEnd(last))
    other.propose([draft("9")])
    with pytest.raises(LedgerDamaged, match=f"has event {last.event.number} .*its last event is 1"):
        ensure_complete(other, CopyEnd(last))
    for name in ("who", "what"):
        altered = replace(last, event=replace(last.event, **{name: "x"}))
        with pytest.raises(LedgerDamaged):
            ensure_complete(full, CopyEnd(altered))


def test_a_ledger_is_complete_if_it_has_the_closed_months_of_its_copy(
    ledgers: tuple[Ledger, Ledger],
) -> None:
    """One with events or other closed months is damaged; one without either is lost."""
    full, other = ledgers
    closed = CopyEnd(closes=[CloseKey(1, "digest", False)])
    with pytest.raises(LostLedger):
        ensure_complete(other, closed)
    with pytest.raises(LedgerDamaged, match="has the closed month number 1, which"):
        ensure_complete(full, closed)
    with other.transaction():
        add_close(other, an_empty_close())
    ensure_complete(other, CopyEnd(closes=close_keys(other)))
    with pytest.raises(LedgerDamaged, match="has the closed month number 1, which"):
        ensure_complete(other, closed)
    last = copy_of(full).events[-1]
    with pytest.raises(LedgerDamaged, match="it has no event"):
        ensure_complete(other, CopyEnd(last))


def an_empty_close() -> PeriodClose:
    """A closed month without figures."""
    return PeriodClose(
        close_number=1, month=date(2026, 10, 1), closed_by="kim", closed_at=AT, run_id="r",
        observed_until=None, reporting_timezone="UTC", db_user=None, figures=[], milestones=[],
    )  # fmt: skip


def test_closed_months_are_restored(ledgers: tuple[Ledger, Ledger]) -> None:
    """They come from the copy, with the changes or alone."""
    full, empty = ledgers
    with full.transaction():
        add_close(full, an_empty_close())
    copy = replace(copy_of(full), closes=read_closes(full))
    assert describe(copy).endswith(" UTC; 1 closed month")
    assert describe(LedgerCopy([], [], copy.closes)) == "1 closed month"
    recover(empty, copy, ACCOUNT)
    assert read_closes(empty) == copy.closes
    check_ledger(empty)
