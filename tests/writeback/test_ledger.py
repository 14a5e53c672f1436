"""The ledger: every move is allowed or refused, done once, and remembered for ever."""

from __future__ import annotations

import sqlite3
import threading
from dataclasses import replace
from datetime import UTC, datetime

import psycopg2
import pytest

from tests.support.ledgers import Kind, create, draft
from warehouse.errors import (
    ChangeRefused,
    WarehouseMisconfigured,
    WarehouseUnavailable,
    WarehouseUnwritable,
)
from warehouse.ledger.change import OPEN, TRANSITIONS, Action, Change, Status
from warehouse.ledger.schema import LEDGER_VERSION
from warehouse.ledger.store import Ledger, connect_ledger

# How a change gets into each status.
WAYS = {
    Status.PROPOSED: [],
    Status.APPROVED: [Status.APPROVED],
    Status.REJECTED: [Status.REJECTED],
    Status.WITHDRAWN: [Status.WITHDRAWN],
    Status.APPLYING: [Status.APPROVED, Status.APPLYING],
    Status.APPLIED: [Status.APPROVED, Status.APPLYING, Status.APPLIED],
    Status.CONFLICT: [Status.APPROVED, Status.APPLYING, Status.CONFLICT],
    Status.FAILED: [Status.APPROVED, Status.APPLYING, Status.FAILED],
    Status.UNKNOWN: [Status.APPROVED, Status.APPLYING, Status.UNKNOWN],
}


def at(ledger: Ledger, status: Status, id_: str) -> Change:
    """A change in this status."""
    (change_id,) = ledger.propose([draft(id_)])
    change = ledger.change(change_id)
    for step in WAYS[status]:
        change = ledger.transition(change, step, who="bob", what=f"to {step}")
    return change


def test_every_pair_of_statuses(kind: Kind) -> None:
    """From each status exactly the moves of TRANSITIONS are possible, and each leaves an event."""
    number, moves = 0, 0
    with kind.open() as ledger:
        for before in Status:
            for after in Status:
                number += 1
                change = at(ledger, before, str(number))
                events = len(ledger.events(change.change_id))
                if after in TRANSITIONS[before]:
                    assert ledger.transition(change, after, who="bob", what="why").status is after
                    last = ledger.events(change.change_id)[-1]
                    assert (last.before, last.after, last.who) == (before, after, "bob")
                    moves += 1
                else:
                    with pytest.raises(ChangeRefused):
                        ledger.transition(change, after, who="bob", what="why")
                    assert ledger.change(change.change_id).status is before
                    assert len(ledger.events(change.change_id)) == events
    assert (number, moves) == (81, 13)


def test_a_move_is_made_once(kind: Kind) -> None:
    """Of many who move the same change at once one succeeds; there is one event."""
    with kind.open() as ledger:
        change = at(ledger, Status.APPROVED, "7")
    done: list[str] = []
    refused: list[str] = []

    def move() -> None:
        with kind.open() as ledger:
            try:
                ledger.transition(change, Status.APPLYING, who="x", what="y")
                done.append("x")
            except ChangeRefused as error:
                refused.append(str(error))

    threads = [threading.Thread(target=move) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(done), len(refused)) == (1, 7)
    with kind.open() as ledger:
        events = ledger.events(change.change_id)
    assert [event.after for event in events].count(Status.APPLYING) == 1


@pytest.mark.parametrize(
    "statement", ["update {schema}events set who = 'x'", "delete from {schema}events"]
)
def test_events_stay(kind: Kind, statement: str) -> None:
    """The database refuses to alter or remove an event, whoever asks."""
    with kind.open() as ledger:
        at(ledger, Status.APPLIED, "7")
        before = ledger.events()
    with pytest.raises((sqlite3.IntegrityError, psycopg2.Error), match="never altered"):
        kind.sql(statement)
    if kind.schema:
        with pytest.raises(psycopg2.Error, match="never altered"):
            kind.sql("truncate {schema}events")
    with kind.open() as ledger:
        assert ledger.events() == before
        assert all((event.db_user is not None) == bool(kind.schema) for event in before)


def test_one_open_change_of_a_milestone(kind: Kind) -> None:
    """A second change waits until the first is decided; a file of two for one is refused whole."""
    with kind.open() as ledger:
        for number, status in enumerate(Status):
            change = at(ledger, status, str(number))
            if status in OPEN:
                with pytest.raises(ChangeRefused, match=f"{change.change_id}, {status}"):
                    ledger.propose([draft("999"), draft(str(number))])
            else:
                ledger.propose([draft(str(number))])
        with pytest.raises(ChangeRefused, match="asked for twice"):
            ledger.propose([draft("888"), draft("888")])
        assert not {"888", "999"} & {change.milestone_id for change in ledger.changes()}


def test_one_create_of_a_kind(kind: Kind) -> None:
    """A create equal to an open or applied one is refused, unless it is meant."""
    with kind.open() as ledger:
        (first,) = ledger.propose([create()])
        with pytest.raises(ChangeRefused, match="--allow-duplicate"):
            ledger.propose([create(proposer="eve")])
        ledger.propose([create(duplicate=True)])
        ledger.transition(ledger.change(first), Status.REJECTED, who="bob", what="no")
        ledger.propose([create()])


def test_two_people(kind: Kind) -> None:
    """Who proposed cannot approve, however the name is written; the digest is kept."""
    with kind.open() as ledger:
        (change_id,) = ledger.propose([draft()])
        change = ledger.change(change_id)
        for name in ("ann", "ANN", "  Ann ", "\uff21nn"):
            with pytest.raises(ChangeRefused, match="another person"):
                ledger.approve(change, name)
        (accented,) = ledger.propose([draft("9", proposer="Jos\u00e9")])
        with pytest.raises(ChangeRefused, match="another person"):
            ledger.approve(ledger.change(accented), "Jose\u0301")
        approved = ledger.approve(change, "bob")
        assert approved.approved_digest == approved.digest == draft().digest
        with pytest.raises(ChangeRefused, match="so not approved"):
            ledger.approve(approved, "carol")
        with pytest.raises(ChangeRefused, match="somebody was faster"):
            ledger.approve(change, "carol")


def test_the_digest_is_of_everything() -> None:
    """Whatever of a change is different, its digest is."""
    others = [
        draft("8"), draft(action=Action.DELETE), draft(workspace_id="4"), draft(currency="JPY"),
        draft(after={"title": "else"}), draft(before={}), draft(reason="else"),
        draft(proposer="eve"), draft(duplicate=True),
    ]  # fmt: skip
    assert len({draft().digest, *(other.digest for other in others)}) == len(others) + 1
    made = replace(create(), milestone_id="1000")  # it gets one only after it was approved
    assert made.digest == create().digest


def test_a_later_release_wrote_it(kind: Kind) -> None:
    """A ledger of a later release is not touched; one of this release opens again as it was."""
    with kind.open() as ledger:
        at(ledger, Status.APPLIED, "7")
        before = ledger.changes()
    with kind.open() as ledger:
        assert ledger.changes() == before
    assert kind.sql("select version from {schema}ledger_version") == [(LEDGER_VERSION,)]
    kind.sql(f"update {{schema}}ledger_version set version = {LEDGER_VERSION + 1}")
    with pytest.raises(WarehouseMisconfigured, match="install the release"), kind.open():
        pass


def test_ledgers_that_cannot_be() -> None:
    """An address that leads nowhere is told with the way out, and never with its password."""
    wrong = [
        ("mysql://u:secret@h/d", WarehouseMisconfigured),
        ("ledger.sqlite", WarehouseMisconfigured),
        ("sqlite://", WarehouseMisconfigured),
        ("sqlite:////proc/nowhere/ledger.sqlite", WarehouseUnwritable),
        ("postgresql://u:secret@127.0.0.1:9/d", WarehouseUnavailable),
    ]
    for url, error in wrong:
        with pytest.raises(error) as told, connect_ledger(url, lambda: datetime.now(UTC)):
            pass
        assert "secret" not in str(told.value)


def test_made_by_many_at_once(kind: Kind) -> None:
    """Processes that open a ledger that is not there yet make it once."""
    errors: list[BaseException] = []

    def open_it(number: int) -> None:
        try:
            with kind.open() as ledger:
                ledger.propose([draft(str(number))])
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=open_it, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    with kind.open() as ledger:
        assert len(ledger.changes()) == 6
