"""The ledger records how each person was identified, and a push can insist on it."""

from __future__ import annotations

import pytest

from tests.support.console import running_console
from tests.support.office import Office
from warehouse.ledger.connection import connect_ledger
from warehouse.ledger.verification import ledger_problems


@pytest.mark.long_on("postgres")
def test_only_verified_approvals_are_sent(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was approved on the command line waits; what was approved in the console is written."""
    one, two = office.free()[:2]
    with running_console(office.job.target) as browser:
        ana, ben = browser("ana"), browser("ben")
        for id_ in (one, two):
            fields = {"milestone_id": id_, "date_to_invoice": "2027-03-01", "reason": "later"}
            assert ana.post("/changes/propose", fields).status_code == 303
        of = {c["milestone_id"]: c for c in office.json("changes")}
        assert ben.decide("approve", f"{of[one]['change_id']} {of[one]['digest']}").ok
        office.run("approve", of[two]["change_id"], "--as", "ben")
        how = {
            id_: [e["identified_by"] for e in office.json("audit", of[id_]["change_id"])]
            for id_ in (one, two)
        }
        assert how == {
            one: ["console login", "console login"],
            two: ["console login", "command line"],
        }
        assert "command line" in ben.get(f"/changes/{of[two]['change_id']}").text
    assert "ben (command line)" in office.run("audit", of[two]["change_id"])[1]
    monkeypatch.setenv("PUSH__REQUIRE_VERIFIED_APPROVAL", "true")
    code, output = office.run("push")
    assert (code, "1 applied, 0 not applied, 1 waiting" in output) == (3, True), output
    assert "PUSH__REQUIRE_VERIFIED_APPROVAL" in output
    account = office.sandbox.account
    assert account.milestones[one]["date_to_invoice"] == "2027-03-01"
    assert account.milestones[two]["date_to_invoice"] != "2027-03-01"
    with connect_ledger(office.job.target.ledger_url, lambda: None) as ledger:  # type: ignore[arg-type, return-value]
        assert ledger_problems(ledger) == []
    copied = office.job.rows(
        "select count(*) from kantata.change_events where identified_by = 'console login'"
    )
    assert copied == [(3,)]
    monkeypatch.setenv("PUSH__REQUIRE_VERIFIED_APPROVAL", "maybe")
    assert office.run("plan")[0] == 2
