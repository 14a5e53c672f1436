"""A currency whose minor unit changes: nobody's amounts change until a person accepts it."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest

from pipelines.ops.marts import check_marts
from sources.kantata_sandbox import Account, Sandbox
from tests.support.job import Job
from tests.support.processes import run_milestones
from warehouse.errors import MinorUnitChanged

CENT, MILL = Decimal("0.01"), Decimal("0.001")
AMOUNTS = "select id, amount from kantata_marts.billing_milestones where currency = 'EUR'"
MARTS = ("billing_milestones", "billing_milestone_history", "backlog_bridge", "billing_backlog")


def figures(job: Job) -> list[Any]:
    """All rows of the marts that show amounts."""
    with job.reading():
        return [sorted(map(repr, job.rows(f"select * from kantata_marts.{m}"))) for m in MARTS]


def euros(account: Account) -> list[dict[str, Any]]:
    """The milestones in EUR that are not invoiced, by id."""
    found = [m for m in account.milestones.values() if m["currency"] == "EUR"]
    return sorted((m for m in found if not m["invoice_id"]), key=lambda m: int(m["id"]))


@pytest.mark.long_on("postgres")
def test_another_minor_unit_stops_the_run_until_it_is_taken_back(job: Job) -> None:
    """Nothing is loaded and the cursor stays; the message has all that a person needs."""
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        before = figures(job)
        concerned = [m["amount_in_cents"] for m in account.milestones.values()
                     if m["currency"] == "EUR"]  # fmt: skip
        account.update_currency("EUR", 1000)
        account.create_milestone(title="not loaded")
        for full in (True, False):  # the next run reads the currencies again, even by the feed
            with pytest.raises(MinorUnitChanged) as stopped:
                job.sync(sandbox, full=full)
            assert stopped.value.exit_code == 3
            for words in (
                "one EUR had 100 minor units, and now has 1000",
                f"{len(concerned)} milestones with {sum(concerned) * CENT:,f} EUR",
                f"would be worth {sum(concerned) * MILL:,f}".rstrip("0"),
                "Nothing was loaded or published.",
                "milestones sync --accept-minor-unit EUR",
            ):
                assert words in str(stopped.value)
            assert figures(job) == before
        assert job.rows("select status from kantata.sync_runs order by run_id") == [
            ("proven",), ("failed",), ("failed",)
        ]  # fmt: skip
        account.update_currency("EUR", 100)
        result = job.sync(sandbox, full=False)
        assert (result.exit_code, result.run.mode, result.run.added) == (0, "feed", 1)


@pytest.mark.long
def test_an_accepted_minor_unit_is_that_of_new_versions(job: Job) -> None:
    """Earlier versions keep the unit they were observed with, also when they are deleted."""
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        before = dict(job.rows(AMOUNTS))
        account.update_currency("EUR", 1000)
        edited, deleted, _ = (m["id"] for m in euros(account)[:3])
        subunits = account.milestones[edited]["amount_in_cents"]
        account.update_milestone(edited, title="edited")
        accepted = run_milestones("sync", "--accept-minor-unit", "eur", "--destination", job.name)
        assert accepted.returncode == 0, accepted.stderr
        expected = before | {edited: subunits * MILL}
        assert dict(job.rows(AMOUNTS)) == expected
        account.delete_milestone(deleted)
        created = account.create_milestone(
            workspace_id=account.milestones[edited]["workspace_id"], currency="EUR",
            amount_in_cents=7_000, date_to_invoice="2027-03-01",
        )  # fmt: skip
        assert job.sync(sandbox, full=False).exit_code == 0
        expected |= {created: Decimal(7)}
        del expected[deleted]
        assert dict(job.rows(AMOUNTS)) == expected
        account.update_currency("EUR", 100)  # and back: each version keeps its own
        account.update_milestone(created, amount_in_cents=800)
        assert job.sync(sandbox, accepted_minor_units=frozenset({"EUR"})).exit_code == 0
        assert dict(job.rows(AMOUNTS)) == expected | {created: Decimal(8)}
    units = "select version, change_type, minor_unit from kantata.billing_milestone_versions"
    assert job.rows(f"{units} where id = '{deleted}' order by version") == [
        (1, "created", CENT), (2, "deleted", CENT)
    ]  # fmt: skip
    assert job.rows(f"{units} where id = '{created}' order by version") == [
        (1, "created", MILL), (2, "updated", None)
    ]  # fmt: skip
    change = f"select amount_change from kantata_marts.milestone_slippage where id = '{edited}'"
    assert job.rows(change) == [(subunits * MILL - before[edited],)]
    assert check_marts(job.target) == []
    # Each amount counts in its own minor unit, also in a sum.
    status = json.loads(run_milestones("status", "--json", "--destination", job.name).stdout)
    shown = [Decimal(m["amount"]) for m in status["months"] if m["currency"] == "EUR"]
    assert sum(shown) == sum(dict(job.rows(AMOUNTS)).values())


@pytest.mark.long_on("postgres")
def test_projects_that_contradict_the_list_stop_the_run(job: Job) -> None:
    """A project with another minor unit than the list has stops a run, until it is accepted."""
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        before = figures(job)
        milestone = euros(account)[0]
        account.update_workspace(milestone["workspace_id"], currency_base_unit=1000)
        account.update_milestone(milestone["id"], title="edited")
        words = "100 minor units in the list of currencies, and 1000 in projects or invoices: "
        with pytest.raises(MinorUnitChanged, match=words):
            job.sync(sandbox, full=False)
        assert figures(job) == before
        accepted = frozenset({"EUR"})
        assert job.sync(sandbox, full=False, accepted_minor_units=accepted).exit_code == 0
        assert job.sync(sandbox).exit_code == 0
    assert figures(job)[2:] == before[2:]


def test_a_currency_without_milestones_may_change() -> None:
    """Another minor unit of a currency that no milestone has concerns nobody."""
    job = Job("duckdb")
    with Sandbox(milestones=60) as sandbox:
        job.synced(sandbox)
        sandbox.account.update_currency("CHF", 1000)
        result = job.sync(sandbox, accepted_minor_units=frozenset({"EUR"}))
    assert result.exit_code == 0
    assert "EUR: there is no other minor unit to accept" in job.notes
    unit = "select unit_per_subunit from kantata.currencies where iso_code = 'CHF'"
    assert job.rows(unit) == [(MILL,)]


@pytest.mark.long
def test_a_first_run_notices_a_contradiction() -> None:
    """In an empty warehouse, projects and the list of currencies must agree, too."""
    job = Job("duckdb")
    with Sandbox(milestones=60) as sandbox:
        milestone = euros(sandbox.account)[0]
        sandbox.account.update_workspace(milestone["workspace_id"], currency_base_unit=1000)
        with pytest.raises(MinorUnitChanged, match="EUR"):
            job.sync(sandbox)
        assert job.sync(sandbox, accepted_minor_units=frozenset({"EUR"})).exit_code == 0
    assert all(amount is not None for _, amount in job.rows(AMOUNTS))
