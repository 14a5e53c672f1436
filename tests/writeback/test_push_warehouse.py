"""What the warehouse shows after a push."""

from __future__ import annotations

from contextlib import ExitStack
from threading import Timer

from sources.kantata_sandbox import Fault
from tests.support.office import Office
from warehouse.locks import file_lock


def _approved(office: Office, id_: str) -> str:
    words = ("update", id_, "--set", "title=new", "--reason", "r", "--as", "ann")
    change = str(office.json("propose", *words)["change_id"])
    assert office.run("approve", change, "--as", "bob")[0] == 0
    return change


def test_the_ledger_is_copied_by_every_push(office: Office) -> None:
    """What was asked for and decided is in the warehouse also after a push that did nothing."""
    change = office.json(
        "propose", "update", office.free()[0], "--set", "title=new", "--reason", "r", "--as", "ann"
    )["change_id"]
    requests = "select change_id, status from kantata.change_requests"
    for words, status in ((("show", change), "proposed"), (("reject", change), "rejected")):
        tail = ("--reason", "no", "--as", "bob") if words[0] == "reject" else ()
        assert office.run(*words, *tail)[0] == 0
        pushed = office.json("push")
        assert (pushed["changes"], pushed["more_approved"]) == ([], 0)
        assert office.job.rows(requests) == [(change, status)]


def test_what_cannot_be_loaded_afterwards_is_told(office: Office) -> None:
    """If what was written to cannot be typed when it is loaded, a person hears of it."""
    id_ = office.free()[0]
    change = _approved(office, id_)
    office.sandbox.misbehave(
        Fault(
            "change", method="PUT", times=1,
            action=lambda account: account.set_raw(id_, "created_at", "no time"),
        )
    )  # fmt: skip
    code, said = office.run("push")
    assert code == 3
    assert f"{change} applied" in said
    assert f"billing_milestones {id_} is rejected" in said


def test_a_push_waits_for_the_warehouse(office: Office) -> None:
    """While a sync is going, `--wait` also holds for loading what was written."""
    id_ = office.free()[0]
    _approved(office, id_)
    with ExitStack() as sync:
        sync.enter_context(file_lock(office.job.target.lock))
        ends = Timer(5, sync.close)
        ends.start()
        code, said = office.run("run", "--only", "push", "--wait", "60")
        ends.join()
    assert code == 0, said
    assert "waiting for it, up to 60 s" in said
    titles = f"select title from kantata.billing_milestones where id = '{id_}'"
    assert office.job.rows(titles) == [("new",)]
