"""The ledger allows or refuses each transition, makes it once and keeps its event."""

from __future__ import annotations

import shutil
import sqlite3
import threading
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import psycopg2
import pytest

from tests.support.ledgers import Kind, create, draft
from warehouse.errors import (
    ChangeRefused,
    WarehouseBusy,
    WarehouseMisconfigured,
    WarehouseUnavailable,
    WarehouseUnwritable,
)
from warehouse.ledger.change import OPEN, TRANSITIONS, Action, Change, Status
from warehouse.ledger.connection import connect_ledger
from warehouse.ledger.schema import LEDGER_VERSION
from warehouse.ledger.store import Ledger
from warehouse.ledger.transfer import complete_file

# The transitions that lead to each status.
STEPS = {
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
    """Propose a change and move it to this status."""
    (change_id,) = ledger.propose([draft(id_)])
    change = ledger.change(change_id)
    for step in STEPS[status]:
        change = ledger.transition(change, step, who="bob", what=f"to {step}")
    return change


def test_every_pair_of_statuses(kind: Kind) -> None:
    """Exactly the transitions of TRANSITIONS are possible, and each is recorded as an event."""
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


def test_a_transition_is_made_once(kind: Kind) -> None:
    """Of many concurrent transitions of one change one succeeds, and one event is recorded."""
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
def test_events_cannot_be_altered(kind: Kind, statement: str) -> None:
    """The database refuses every statement that alters or removes an event."""
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


def test_only_an_unknown_change_is_corrected(kind: Kind) -> None:
    """A change that was settled meanwhile keeps its times, and gets no remark."""
    with kind.open() as ledger:
        assert ledger.name == (
            "on Postgres" if ledger.is_postgres else kind.url.partition("///")[2]
        )
        unknown = at(ledger, Status.UNKNOWN, "7")
        settled = ledger.transition(unknown, Status.APPLIED, who="push", what="found")
        events = ledger.events()
        with pytest.raises(ChangeRefused, match="no longer unknown"):
            ledger.correct_sent_at(
                unknown, datetime.now(UTC), who="push", what="a wrong clock", looked_at=None
            )
        assert ledger.change(unknown.change_id) == settled
        assert ledger.events() == events


def test_one_open_change_of_a_milestone(kind: Kind) -> None:
    """A milestone has at most one open change; a list with a second one is refused as a whole."""
    with kind.open() as ledger:
        for number, status in enumerate(Status):
            change = at(ledger, status, str(number))
            if status in OPEN:
                with pytest.raises(ChangeRefused, match=f"{change.change_id}, {status}"):
                    ledger.propose([draft("999"), draft(str(number))])
            else:
                ledger.propose([draft(str(number))])
        with pytest.raises(ChangeRefused, match="two changes in this proposal"):
            ledger.propose([draft("888"), draft("888")])
        assert not {"888", "999"} & {change.milestone_id for change in ledger.changes()}


def test_equal_creates(kind: Kind) -> None:
    """A create equal to an open one is refused, unless duplicates are allowed."""
    with kind.open() as ledger:
        (first,) = ledger.propose([create()])
        with pytest.raises(ChangeRefused, match="--allow-duplicate"):
            ledger.propose([create(proposer="eve")])
        ledger.propose([create(duplicate=True)])
        ledger.transition(ledger.change(first), Status.REJECTED, who="bob", what="no")
        ledger.propose([create()])


def test_approval_needs_another_person(kind: Kind) -> None:
    """The proposer cannot approve, in any spelling of the name; the digest is stored."""
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
        with pytest.raises(ChangeRefused, match="cannot become approved"):
            ledger.approve(approved, "carol")
        with pytest.raises(ChangeRefused, match="no longer proposed"):
            ledger.approve(change, "carol")


def test_the_digest_covers_every_field() -> None:
    """Changes that differ in any approved field have different digests."""
    others = [
        draft("8"), draft(action=Action.DELETE), draft(workspace_id="4"), draft(currency="JPY"),
        draft(after={"title": "else"}), draft(before={}), draft(reason="else"),
        draft(proposer="eve"), draft(duplicate=True),
    ]  # fmt: skip
    assert len({draft().digest, *(other.digest for other in others)}) == len(others) + 1
    made = replace(create(), milestone_id="1000")  # a create gets its id after the approval
    assert made.digest == create().digest


def test_ledger_of_a_later_release(kind: Kind) -> None:
    """A ledger of a later release is refused; one of this release opens again unchanged."""
    with kind.open() as ledger:
        at(ledger, Status.APPLIED, "7")
        before = ledger.changes()
    with kind.open() as ledger:
        assert ledger.changes() == before
    assert kind.sql("select version from {schema}ledger_version") == [(LEDGER_VERSION,)]
    kind.sql(f"update {{schema}}ledger_version set version = {LEDGER_VERSION + 1}")
    with pytest.raises(WarehouseMisconfigured, match="install the release"), kind.open():
        pass


def test_invalid_ledger_addresses() -> None:
    """An invalid address is reported with its own error, and without its password."""
    wrong = [
        ("mysql://u:secret@h/d", WarehouseMisconfigured),
        ("ledger.sqlite", WarehouseMisconfigured),
        ("sqlite://", WarehouseMisconfigured),
        ("sqlite:////proc/nowhere/ledger.sqlite", WarehouseUnwritable),
        ("postgresql://u:secret@127.0.0.1:9/d", WarehouseUnavailable),
    ]
    for url, error in wrong:
        with pytest.raises(error) as raised, connect_ledger(url, lambda: datetime.now(UTC)):
            pass
        assert "secret" not in str(raised.value)


def test_a_ledger_is_created_once(kind: Kind) -> None:
    """Concurrent connections that open a new ledger create it once."""
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


def test_a_file_is_renamed_only_when_it_is_complete(tmp_path: Path) -> None:
    """What is only in SQLite's log is written into the file first, or the move is refused."""
    file, url = tmp_path / "ledger.sqlite", f"sqlite:///{tmp_path}/ledger.sqlite"
    with (
        connect_ledger(url, lambda: datetime.now(UTC)) as ledger,
        closing(sqlite3.connect(file, isolation_level=None)) as reader,
    ):
        reader.execute("begin")
        assert reader.execute("select count(*) from changes").fetchone() == (0,)
        ledger.propose([draft()])
        with ledger.transaction(), pytest.raises(WarehouseBusy, match="is reading the ledger"):
            complete_file(file)
        reader.execute("rollback")
        with ledger.transaction():
            complete_file(file)
            shutil.copy(file, tmp_path / "alone.sqlite")
    with connect_ledger(f"sqlite:///{tmp_path}/alone.sqlite", lambda: datetime.now(UTC)) as alone:
        assert len(alone.changes()) == 1
