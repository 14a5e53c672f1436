"""Clients, leads and states of invoices, compared with a computation without SQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from random import Random
from typing import Any

import pytest

from pipelines.ops.marts import rebuild_marts
from sources.kantata_sandbox import Account, Sandbox
from tests.support.invoice_truth import age_of, days, is_paid, money, state, today
from tests.support.job import Job
from tests.support.visible import project_details
from warehouse.models.build import marts
from warehouse.models.sql_files import ModelKind

DAY = 86_400
DETAILS = ("client_id", "client", "project_lead_id", "project_lead", "client_lead")
COLUMNS = (*DETAILS, "project_status", "project_stage", "hidden_fields")
Record = dict[str, Any]


@dataclass
class Observed:
    """What the connector observed of an account, in plain Python."""

    details: dict[str, Record] = field(default_factory=dict)
    unpaid: set[str] = field(default_factory=set)
    paid_on: dict[str, date] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)

    def sync(self, account: Account, *, with_details: bool) -> None:
        """Observe the account as a run does."""
        if with_details:
            for project in account.workspaces:
                shown = project_details(account, project)
                self.details[project] = self.details.get(project, {}) | shown
        for id_ in {i for ids in account.invoices_of.values() for i in ids}:
            if is_paid(account.invoices[id_]) and id_ in self.unpaid:
                self.paid_on.setdefault(id_, today(account))
            if id_ not in self.seen and not is_paid(account.invoices[id_]):
                self.unpaid.add(id_)
            self.seen.add(id_)

    def of_project(self, account: Account, project: str) -> tuple[Any, ...]:
        """The columns that the marts show of a milestone's project."""
        details = self.details[project]
        status = account.workspaces[project]["status"]["message"]
        shown = [details.get(name) for name in DETAILS]
        return (*shown, status, details.get("stage"), details["hidden"])


def milestone_rows(account: Account, observed: Observed) -> Iterator[tuple[Any, ...]]:
    """The new columns of `billing_milestones`."""
    for id_, record in account.milestones.items():
        invoice = account.invoices.get(record["invoice_id"] or "")
        found: tuple[Any, ...] = (None, None, None, None)
        if invoice:
            kind, paid = state(invoice), observed.paid_on.get(invoice["id"])
            billed_on = invoice["invoice_date"] if kind in ("issued", "paid") else None
            found = (
                kind,
                invoice["due_date"] and date.fromisoformat(invoice["due_date"]),
                days(record["date_to_invoice"], billed_on),
                days(invoice["invoice_date"], str(paid)) if paid and kind == "paid" else None,
            )
        yield (id_, *observed.of_project(account, record["workspace_id"]), *found)


def receivable_rows(account: Account, observed: Observed) -> Iterator[tuple[Any, ...]]:
    """The rows of `receivables`."""
    for invoice in account.invoices.values():
        on_it = [m for m in account.milestones.values() if m["invoice_id"] == invoice["id"]]
        if not on_it or state(invoice) != "issued" or not invoice["balance_in_cents"]:
            continue
        details = [observed.details[m["workspace_id"]] for m in on_it]
        clients = {(d.get("client_id"), d.get("client")) for d in details}
        client = clients.pop() if len(clients) == 1 else (None, None)
        currency, due = invoice["currency"], invoice["due_date"]
        late = days(due, str(today(account)))
        billed = money(sum(m["amount_in_cents"] for m in on_it), currency)
        balance = money(invoice["balance_in_cents"], currency)
        yield (
            invoice["id"], *client, currency, late, age_of(late), balance, len(on_it), billed, 0,
            max(balance - billed, Decimal(0)), len({m["workspace_id"] for m in on_it}),
        )  # fmt: skip


def change(account: Account, rng: Random) -> None:
    """Change something that these columns show."""
    invoices = account.invoices.values()
    open_ = [i["id"] for i in invoices if state(i) == "issued" and i["balance_in_cents"] > 1]
    drafts = [i["id"] for i in invoices if state(i) == "draft"]
    free = [
        i for i, m in account.milestones.items() if not m["invoice_id"] and m["amount_in_cents"]
    ]
    project = rng.choice(list(account.workspaces))
    group = rng.choice(list(account.workspace_groups))
    actions = [
        lambda: account.pay_invoice(rng.choice(open_)),
        lambda: account.pay_invoice(rng.choice(open_), 1),
        lambda: account.update_invoice(rng.choice(drafts), draft=False),
        lambda: account.cancel_invoice(rng.choice(open_)),
        lambda: account.update_invoice(rng.choice(open_), due_date=None),
        lambda: account.invoice_milestone(rng.choice(free)),
        lambda: account.invoice_milestone(rng.choice(free), draft=True),
        lambda: account.update_workspace(project, status={"message": rng.choice("abc")}),
        lambda: account.update_optional_fields(project, primary_workspace_group_id=group),
        lambda: account.update_optional_fields(project, client_lead_name=rng.choice("xyz")),
        lambda: account.rename_client(group, f"client {rng.random()}"),
        lambda: account.hide_fields(*rng.sample(["stage", "client_lead_name"], rng.randint(0, 2))),
    ]
    with suppress(IndexError):  # there is no such invoice now
        rng.choice(actions)()


def all_rows(job: Job) -> dict[str, list[tuple[object, ...]]]:
    """Return the rows of each mart that is a table, in an order of their own."""
    tables = [mart.name for mart in marts() if mart.kind is not ModelKind.VIEW]
    return {
        name: sorted(job.rows(f"select * from kantata_marts.{name}"), key=str) for name in tables
    }


@pytest.mark.long  # the questions of finance run on a history of their own
@pytest.mark.parametrize("seed", [1, 2, 3, 4])
def test_random_histories(job: Job, seed: int) -> None:
    """After changes of every kind, each row equals what Python computes from the account.

    Runs refreshed only rows that changed; rebuilding the marts gives the same rows.
    """
    rng, observed = Random(seed), Observed()
    with Sandbox(milestones=120) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        observed.sync(account, with_details=True)
        for step in range(3 if seed == 1 else 5):
            for _ in range(12):
                change(account, rng)
            account.advance(DAY * rng.choice((1, 20)) if step % 2 else 3600)
            job.sync(sandbox, full=step in (2, 4))
            observed.sync(account, with_details=bool(step % 2))
        columns = f"{', '.join(COLUMNS)}, invoice_state, invoice_due_date, days_to_invoice"
        found = job.rows(f"select id, {columns}, days_to_pay from kantata_marts.billing_milestones")
        assert sorted(found) == sorted(milestone_rows(account, observed))
        assert any(row[-1] is not None for row in found)
        found = job.rows(
            "select invoice_id, client_id, client, currency, days_past_due, age, balance, "
            "milestones, milestone_amount, other_milestones, other_at_least, projects "
            "from kantata_marts.receivables"
        )
        assert sorted(found) == sorted(receivable_rows(account, observed))
        for mart in ("milestone_slippage", "billing_milestone_history", "billing_backlog"):
            shown = job.rows(
                f"select distinct workspace_id, {', '.join(COLUMNS)} from kantata_marts.{mart}"
            )
            assert shown
            assert all(row[1:] == observed.of_project(account, row[0]) for row in shown)
        refreshed = all_rows(job)
        assert rebuild_marts(job.target) == []
        assert all_rows(job) == refreshed


@pytest.mark.long_on("postgres")
def test_a_balance_that_is_hidden_later(job: Job) -> None:
    """An invoice that is paid then is no receivable; its last balance would keep it for ever."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        id_ = next(
            i
            for i, m in account.milestones.items()
            if m["invoice_id"] is None and m["amount_in_cents"] > 1000
        )
        invoice = account.invoice_milestone(id_)
        job.synced(sandbox)
        account.hide_invoice_fields("balance_in_cents")
        account.pay_invoice(invoice)
        result = job.sync(sandbox)
        assert result.run.schema_changes == [
            "invoices.balance_in_cents is missing, so it is null now"
        ]
        open_invoices = dict(job.rows("select invoice_id, balance from kantata_marts.receivables"))
        assert invoice not in open_invoices
        assert set(open_invoices.values()) == {None}
        account.hide_invoice_fields()
        assert job.sync(sandbox).run.schema_changes == ["invoices.balance_in_cents is there again"]
        assert (
            None
            not in dict(
                job.rows("select invoice_id, balance from kantata_marts.receivables")
            ).values()
        )


@pytest.mark.long
def test_hidden_balances(job: Job) -> None:
    """Without balances the status alone says what is paid, and open invoices have none."""
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        account.hide_invoice_fields("balance_in_cents", "due_date")
        job.sync(sandbox)
        paid = {i["id"] for i in account.invoices.values() if i["status"] == "accepted payment"}
        found = job.rows(
            "select invoice_id, balance, age, other_at_least from kantata_marts.receivables"
        )
        assert found
        assert {row[1:] for row in found} == {(None, "no due date", None)}
        assert not {row[0] for row in found} & paid
        by_state = job.rows(
            "select distinct invoice_id from kantata_marts.billing_milestones "
            "where invoice_state = 'paid'"
        )
        billed = {m["invoice_id"] for m in account.milestones.values()}
        assert {row[0] for row in by_state} == paid & billed
        # What becomes readable later is no payment that was observed.
        account.hide_invoice_fields()
        job.sync(sandbox)
        assert not job.rows(
            "select 1 from kantata.invoice_payments where paid_observed_at is not null"
        )
