"""What the warehouse contains after a push."""

from __future__ import annotations

from contextlib import ExitStack
from threading import Timer

import pytest

from sources.kantata_sandbox import Fault
from tests.support.office import Office
from warehouse.locks import file_lock


def _approved(office: Office, id_: str) -> str:
    words = ("update", id_, "--set", "title=new", "--reason", "r", "--as", "ann")
    change = str(office.json("propose", *words)["change_id"])
    assert office.run("approve", change, "--as", "bob")[0] == 0
    return change


@pytest.mark.long_on("postgres")
def test_the_ledger_is_copied_by_every_push(office: Office) -> None:
    """Proposals and decisions are in the warehouse even after a push that wrote nothing."""
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


@pytest.mark.long_on("postgres")
def test_a_written_record_that_is_rejected_is_reported(office: Office) -> None:
    """If a written milestone cannot be typed when it is loaded, the push exits with 3."""
    id_ = office.free()[0]
    change = _approved(office, id_)
    office.sandbox.misbehave(
        Fault(
            "change", method="PUT", times=1,
            action=lambda account: account.set_raw(id_, "created_at", "no time"),
        )
    )  # fmt: skip
    code, output = office.run("push")
    assert code == 3
    assert f"{change} applied" in output
    assert f"billing_milestones {id_} is rejected" in output


@pytest.mark.long_on("postgres")
def test_an_unknown_outcome_is_not_called_not_applied(office: Office) -> None:
    """If no answer came, the last line says that the outcome is unknown."""
    _approved(office, office.free()[0])
    office.sandbox.misbehave(Fault("drop_after", method="PUT", times=1))
    code, output = office.run("push")
    assert code == 3
    assert "0 applied, 1 unknown, 0 not applied, 0 waiting" in output


@pytest.mark.long_on("postgres")
def test_a_push_waits_for_the_warehouse(office: Office) -> None:
    """While a sync runs, `--wait` also applies to loading the written milestones."""
    id_ = office.free()[0]
    _approved(office, id_)
    with ExitStack() as sync:
        sync.enter_context(file_lock(office.job.target.lock))
        ends = Timer(5, sync.close)
        ends.start()
        code, output = office.run("run", "--only", "push", "--wait", "60")
        ends.join()
    assert code == 0, output
    assert "waiting for it, up to 60 s" in output
    titles = f"select title from kantata.billing_milestones where id = '{id_}'"
    assert office.job.rows(titles) == [("new",)]


@pytest.mark.long
def test_the_next_push_reads_back_what_the_last_one_could_not(office: Office) -> None:
    """What was deleted is so in the warehouse after a push with nothing to send, and in status."""
    id_, live = office.free()[0], len(office.sandbox.account.milestones)
    words = ("propose", "delete", id_, "--reason", "r", "--as", "ann")
    change = str(office.json(*words)["change_id"])
    assert office.run("approve", change, "--as", "bob")[0] == 0
    deleted = f"select id from kantata.billing_milestones where id = '{id_}' and deleted_at < now()"
    with file_lock(office.job.target.lock):
        code, output = office.run("push")
    assert (code, "does not show yet what was written" in output) == (75, True), output
    assert office.job.rows(deleted) == []
    assert f", {live} milestones;" in office.run("status")[1]
    code, output = office.run("push")
    assert code == 0, output
    assert office.job.rows(deleted) == [(id_,)]
    assert f", {live - 1} milestones;" in office.run("status")[1]


@pytest.mark.parametrize("job", ["duckdb"], indirect=True)
def test_an_amount_whose_minor_unit_changed_is_not_sent(office: Office) -> None:
    """It would be another amount than the approved one; changes without an amount are sent."""
    account, (first, second) = office.sandbox.account, office.free()[:2]
    currency = account.milestones[first]["currency"]
    before = account.milestones[first]["amount_in_cents"]
    words = ("--set", "amount=1000", "--reason", "r", "--as", "ann")
    amount = str(office.json("propose", "update", first, *words)["change_id"])
    assert office.run("approve", amount, "--as", "bob")[0] == 0
    title = _approved(office, second)
    account.update_currency(currency, 10_000)
    code, said = office.run("push")
    assert f"Kantata's minor unit of {currency} is 0.0001 now" in said
    assert account.milestones[first]["amount_in_cents"] == before
    statuses = {c["change_id"]: c["status"] for c in office.json("changes", "--all")}
    assert (statuses[amount], statuses[title]) == ("approved", "applied")
    assert code == 3
