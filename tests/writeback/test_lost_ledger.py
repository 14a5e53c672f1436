"""A ledger that is lost, older, damaged or altered is never used as if it were whole."""

from __future__ import annotations

import shutil
import sqlite3
import time
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest

from pipelines.config.settings import kantata_settings, push_settings
from pipelines.ops.ledger_source import LedgerSource
from pipelines.ops.restore_ledger import restore_ledger
from pipelines.runtime.clock import utc_now
from pipelines.runtime.observer import RunObserver
from pipelines.writeback.service import push_changes
from sources.kantata_sandbox import Fault
from tests.support.job import Job
from tests.support.office import Office
from warehouse.errors import WarehouseUnavailable

LEDGER = Path(".milestones/ledger.sqlite")
ON_DUCKDB = pytest.mark.parametrize("job", ["duckdb"], indirect=True)


@pytest.fixture
def pushed(office: Office) -> Office:
    """An office whose ledger has an applied change and an approved one, copied by a push."""
    first, second, *_ = office.free()
    _approve(office, _propose(office, first))
    assert office.run("push")[0] == 0
    approved = _propose(office, second)
    _approve(office, approved)
    # A push that cannot write: the copy in the warehouse has the change as approved.
    office.sandbox.misbehave(Fault("throttle", method="PUT"))
    assert office.run("push")[0] == 75
    office.sandbox.behave()
    return office


def _propose(office: Office, id_: str) -> str:
    words = ("update", id_, "--set", "amount_in_cents=12345", "--reason", "r", "--as", "ann")
    return str(office.json("propose", *words)["change_id"])


def _approve(office: Office, change_id: str) -> None:
    office.json("approve", change_id, "--as", "bob")


def _statuses(office: Office) -> list[str]:
    return [change["status"] for change in office.json("changes", "--all")]


def _lose(job: Job) -> None:
    """Lose the ledger."""
    if job.name == "duckdb":
        for file in LEDGER.parent.glob("ledger.sqlite*"):
            file.unlink()
    else:
        job.run("drop schema kantata_ledger cascade")


def _alter(job: Job, statement: str) -> None:
    """Alter the ledger behind its back."""
    if job.name == "duckdb":
        with closing(sqlite3.connect(LEDGER, isolation_level=None)) as connection:
            connection.executescript(statement)
        return
    with closing(psycopg2.connect(job.url)) as connection, connection.cursor() as cursor:
        cursor.execute("set search_path = kantata_ledger")
        cursor.execute(statement)
        connection.commit()


def _writes(office: Office) -> int:
    return sum(request.method == "PUT" for request in list(office.sandbox.requests))


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(["push"], id="push", marks=pytest.mark.long_on("postgres")),
        pytest.param(["changes"], id="changes", marks=pytest.mark.long),
        pytest.param(["propose"], id="propose", marks=pytest.mark.long),
    ],
)
def test_a_lost_ledger_is_restored(pushed: Office, command: list[str]) -> None:
    """It is restored from its copy, with 3 once; what may have been sent is looked for first.

    So it is if its file is damaged, once a person says so; the file is kept under another name.
    """
    history = pushed.json("audit", pushed.json("changes", "--all")[0]["change_id"])
    _lose(pushed.job)
    if command == ["propose"]:
        third = pushed.free()[2]
        command = ["propose", "delete", third, "--reason", "r"]
    before = _writes(pushed)
    code, said = pushed.run("check")
    assert (code, "restores it" in said) == (3, True), said
    code, said = pushed.run(*command)
    assert (code, "was restored from its copy in the warehouse: 2 changes" in said) == (3, True)
    assert _statuses(pushed) == ["applied", "unknown"]
    assert pushed.json("audit", pushed.json("changes", "--all")[0]["change_id"]) == history
    assert pushed.json("audit", "--verify")["problems"] == []
    assert _writes(pushed) == before
    if pushed.job.name == "duckdb":
        _restore_damaged(pushed)
    # It was not written, so it is sent now, once.
    assert pushed.run("push")[0] == 3  # too early to know
    pushed.sandbox.account.advance(300)
    assert pushed.run("push")[0] == 0
    assert _statuses(pushed) == ["applied", "applied"]
    assert _writes(pushed) == before + 1


@pytest.mark.long
@ON_DUCKDB
@pytest.mark.parametrize("choice", ["warehouse", "ledger"])
def test_an_older_ledger_is_refused(office: Office, choice: str) -> None:
    """A backup of the ledger is not used until a person decides; then nothing is sent twice."""
    id_ = office.free()[0]
    change_id = _propose(office, id_)
    _approve(office, change_id)
    shutil.copytree(".milestones", "backup")
    assert office.run("push")[0] == 0
    _lose(office.job)
    for file in Path("backup").glob("ledger.sqlite*"):
        shutil.copy(file, LEDGER.parent)
    for command in ("push", "changes", "plan"):
        code, said = office.run(command)
        assert (code, "--ledger-from warehouse" in said) == (1, True), said
    code, said = office.run("check")
    assert (code, "which the ledger" in said) == (1, True), said
    restore = ("restore", "--ledger-from", choice, "--reason", "the disk was replaced")
    if choice == "ledger":
        LEDGER.rename("ledger.aside")
        code, said = office.run(*restore)
        assert (code, "there is no ledger that could" in said, LEDGER.exists()) == (2, True, False)
        Path("ledger.aside").rename(LEDGER)
    assert office.run(*restore)[0] == 0
    assert _statuses(office) == ["applied" if choice == "warehouse" else "unknown"]
    office.sandbox.account.advance(300)
    assert office.run("push")[0] == 0
    assert _statuses(office) == ["applied"]
    assert _writes(office) == 1
    rows = office.job.rows("select source, reason from kantata.restores")
    assert rows == [(f"ledger: {choice}", "the disk was replaced")]
    assert len(list(LEDGER.parent.glob("ledger.sqlite.*.old"))) == (choice == "warehouse")


@pytest.mark.long
@ON_DUCKDB
def test_a_push_ends_if_the_ledger_is_restored_while_it_waits(pushed: Office) -> None:
    """A push that has opened the ledger sends nothing from a file that was set aside."""
    before = _writes(pushed)
    target = pushed.job.target

    def restore(phase: str) -> None:
        if phase == "writing":  # the ledger is open, and the push lock is not taken yet
            restore_ledger(target, LedgerSource.WAREHOUSE, "tampered", utc_now)

    settings = kantata_settings(), push_settings()
    with pytest.raises(WarehouseUnavailable, match="was replaced or removed while it was in use"):
        push_changes(*settings, target, RunObserver(phase=restore), utc_now)
    assert _writes(pushed) == before
    assert _statuses(pushed) == ["applied", "unknown"]
    assert pushed.run("check")[0] == 0


@pytest.mark.long
@ON_DUCKDB
@pytest.mark.parametrize("choice", ["warehouse", pytest.param("ledger", marks=pytest.mark.long)])
def test_a_change_that_was_undone_is_not_written_again(
    office: Office, monkeypatch: pytest.MonkeyPatch, choice: str
) -> None:
    """A restored ledger does not know of the write; what a person put back in Kantata stays."""
    account, (first, id_, *_) = office.sandbox.account, office.free()
    before = account.milestone(id_)["amount_in_cents"]
    for milestone_id in (first, id_):
        _approve(office, _propose(office, milestone_id))
    with monkeypatch.context() as one_change:
        one_change.setenv("PUSH__MAX_CHANGES", "1")
        assert office.run("push")[0] == 0  # its copy has the second change as approved
    shutil.copytree(".milestones", "backup")
    assert office.run("push")[0] == 0
    time.sleep(1.1)  # Kantata's times are whole seconds
    account.update_milestone(id_, amount_in_cents=before)
    if choice == "warehouse":  # as if the second push had been killed before it copied the ledger
        shutil.rmtree(".milestones")
        shutil.copytree("backup", ".milestones")
        Path("milestones.duckdb").unlink()
    else:
        _lose(office.job)
        for file in Path("backup").glob("ledger.sqlite*"):
            shutil.copy(file, LEDGER.parent)
    code, said = office.run("restore", "--ledger-from", choice, "--reason", "the disk was replaced")
    assert code == 0, said
    account.advance(300)
    writes = _writes(office)
    assert office.run("push")[0] == 3
    assert _writes(office) == writes
    assert account.milestone(id_)["amount_in_cents"] == before
    assert _statuses(office) == ["applied", "conflict"]
    outcome = office.json("changes", "--all")[1]["outcome"]
    assert "perhaps it was written, and then put back by somebody" in outcome


@pytest.mark.long
def test_a_lost_withdrawal_can_be_repeated_before_a_push(pushed: Office) -> None:
    """The message of the restore says how: once it is known that the change was not written."""
    change_id = pushed.json("changes")[0]["change_id"]
    pushed.json("withdraw", change_id, "--reason", "wrong", "--as", "ann")
    before = _writes(pushed)
    _lose(pushed.job)
    code, said = pushed.run("changes")
    assert (code, "was withdrawn since that copy was made" in said) == (3, True), said
    code, said = pushed.run("withdraw", change_id, "--as", "ann")
    assert (code, "Find out with `milestones reconcile`" in said) == (2, True), said
    pushed.sandbox.account.advance(300)
    assert pushed.run("reconcile")[0] == 0
    assert pushed.json("withdraw", change_id, "--as", "ann")[0]["status"] == "withdrawn"
    assert pushed.run("push")[0] == 0
    assert _writes(pushed) == before


DAMAGES = {
    "half a file": "",
    "no such JSON": "update changes set fields_before = '{'",
    "no JSON object": "update changes set fields_after = '[1, 2]'",
    "an unknown status": "update changes set status = 'done'",
    "an event without a time": "drop trigger events_update_refused; update events set at = 'now'",
    "no version": "delete from ledger_version",
    "no version table": "drop table ledger_version",
    "no events": "drop table events",
}
SHORT = ("half a file",)


@ON_DUCKDB
@pytest.mark.parametrize(
    "statement",
    [
        pytest.param(statement, id=name, marks=() if name in SHORT else pytest.mark.long)
        for name, statement in DAMAGES.items()
    ],
)
def test_a_damaged_ledger_is_reported(office: Office, statement: str) -> None:
    """It is one line, with 1 and a way back; it never counts as a ledger without changes."""
    _propose(office, office.free()[0])
    if statement:
        _alter(office.job, "drop trigger changes_update_refused;" + statement)
    else:
        with closing(sqlite3.connect(LEDGER)) as connection:
            connection.execute("pragma wal_checkpoint(truncate)")
        size = LEDGER.stat().st_size
        with LEDGER.open("r+b") as file:
            file.truncate(size // 2)
    reads_events = "table events" in statement or "update events" in statement
    for command in (*([] if reads_events else ["changes"]), "plan", "push", "run", "check"):
        code, said = office.run(command)
        assert (code, "the ledger is damaged: " in said) == (1, True), (command, said)
        assert "milestones restore --ledger-from warehouse" in said
        assert "Traceback" not in said


def _restore_damaged(pushed: Office) -> None:
    """Damage the ledger; check that it is replaced by its copy, and kept under another name."""
    with LEDGER.open("r+b") as file:
        file.truncate(5_000)
    for ending in ("-wal", "-shm"):
        LEDGER.with_name(LEDGER.name + ending).unlink(missing_ok=True)
    assert pushed.run("push")[0] == 1
    code, said = pushed.run("restore", "--ledger-from", "warehouse", "--reason", "damaged")
    assert (code, "2 changes" in said) == (0, True), said
    assert _statuses(pushed) == ["applied", "unknown"]
    assert len(list(LEDGER.parent.glob("ledger.sqlite.*.old"))) == 1


ALTERED = {
    "approved by hand": "update changes set status = 'approved', approver = 'x', "
    "approved_digest = 'd' where status = 'proposed'",
    "sent again": "update changes set status = 'approved' where status = 'applied'",
    "altered before its approval": "",
}


@pytest.mark.parametrize(
    "how",
    [
        pytest.param("approved by hand", marks=pytest.mark.long_on("duckdb")),
        pytest.param("altered before its approval", marks=pytest.mark.long_on("postgres")),
        pytest.param("sent again", marks=pytest.mark.long_on("postgres")),
    ],
)
def test_an_altered_row_is_not_sent(office: Office, how: str) -> None:
    """A row that its history does not bear out is a conflict with its reason."""
    change_id = _propose(office, office.free()[0])
    if how == "sent again":
        _approve(office, change_id)
        assert office.run("push")[0] == 0
    if ALTERED[how]:
        _alter(office.job, ALTERED[how])
    else:
        _alter(office.job, """update changes set fields_after = '{"amount_in_cents": 99}'""")
        _approve(office, change_id)
    before = _writes(office)
    code, said = office.run("audit", "--verify")
    assert (code, f"change {change_id}: " in said) == (1, True), said
    assert "conflict" in office.run("plan")[1]
    assert office.run("push")[0] == 3
    assert _writes(office) == before
    (change,) = office.json("changes", "--all")
    assert change["status"] == "conflict"
    assert "without an event" in change["outcome"] or "after it was proposed" in change["outcome"]
    assert office.run("audit", "--verify")[0] == 1  # for good; check names only what is open
    assert "all are as they were recorded" in office.run("check")[1]


@pytest.mark.long_on("postgres")
def test_an_approval_by_hand_shows_in_the_list(office: Office) -> None:
    """`changes` and `show` say that a push will not send a change, and why."""
    _propose(office, office.free()[0])
    assert "push will refuse it" not in office.run("changes")[1]
    _alter(office.job, ALTERED["approved by hand"])
    (change,) = office.json("changes")
    for words in (["changes"], ["show", change["change_id"]]):
        assert "push will refuse it: its status was set to approved" in office.run(*words)[1]


@pytest.mark.long_on("postgres")
def test_a_push_names_altered_finished_changes(office: Office) -> None:
    """Nothing of them is sent, so the push goes on; it says how to see all."""
    change_id = _propose(office, office.free()[0])
    assert office.run("reject", change_id, "--reason", "no", "--as", "bob")[0] == 0
    assert "was altered" not in office.run("push")[1]
    _alter(office.job, "update changes set reason = 'other'")
    code, said = office.run("push")
    assert (code, f"the ledger was altered: change {change_id}: it was" in said) == (0, True), said


def test_altered_events_stop_a_push(office: Office) -> None:
    """Nothing is sent on a history that somebody altered."""
    change_id = _propose(office, office.free()[0])
    _approve(office, change_id)
    trigger = "events_update_refused" if office.job.name == "duckdb" else "events_refused on events"
    _alter(office.job, f"drop trigger {trigger}; update events set who = 'eve' where who = 'bob'")
    for command in (["push"], ["plan"]):
        code, said = office.run(*command)
        assert (code, "the ledger was altered: event 2 is not as it was" in said) == (1, True)
    code, said = office.run("audit", "--verify")
    assert (code, "trigger events_" in said) == (1, True), said
    assert _writes(office) == 0
