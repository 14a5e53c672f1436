"""The figures that people are shown equal the marts, and the account, on both warehouses."""

from __future__ import annotations

from collections import Counter, defaultdict
from datetime import date, datetime
from decimal import Decimal

import pytest

from pipelines.ops.currency_figures import CurrencyFigures
from pipelines.ops.figures import Figures, read_figures
from pipelines.ops.status import read_status
from sources.kantata_sandbox import Account, Sandbox
from tests.support.accounts import open_ids
from tests.support.job import Job
from warehouse import mart_queries
from warehouse.errors import WarehouseError
from warehouse.reader import open_reader


def figures(job: Job, since: datetime | None = None) -> Figures:
    """The figures as the report would show them."""
    with open_reader(job.target) as reader:
        return read_figures(reader, since)


def by_status(account: Account, today: date) -> dict[tuple[str, str], int]:
    """The sums of an account in minor units, by currency and status: computed without SQL."""
    sums: Counter[tuple[str, str]] = Counter()
    for record in account.milestones.values():
        due = record["date_to_invoice"] and date.fromisoformat(record["date_to_invoice"])
        if record["invoice_id"] is not None:
            status = "invoiced"
        elif due is None:
            status = "unscheduled"
        else:
            status = "overdue" if due < today else "scheduled"
        sums[record["currency"], status] += record["amount_in_cents"]
    return dict(sums)


def assert_equals_marts(job: Job, found: Figures) -> None:
    """Assert that each figure is a mart's, or a sum over one."""
    marts = "kantata_marts"
    parts: dict[str, dict[str, Decimal]] = defaultdict(dict)
    for currency, status, amount in job.rows(
        f"select currency, status, sum(amount) from {marts}.billing_milestones group by 1, 2"
    ):
        parts[currency][status] = amount
    due = job.rows(
        f"select currency, sum(amount - not_due) from {marts}.billing_backlog group by 1"
    )
    closings = job.rows(
        f"select currency, closing from {marts}.backlog_bridge "
        f"where month = (select max(month) from {marts}.backlog_bridge)"
    )
    open_invoices = f"select currency, sum(balance) from {marts}.receivables group by 1"
    receivables = {each.currency: each.total.amount for each in found.receivables}
    assert receivables == dict(job.rows(open_invoices))
    for clients in (*found.receivables, *found.overdue):
        assert sum(each.amount or 0 for each in clients.clients) == clients.total.amount
    overdue = {each.currency: each.total.amount for each in found.overdue}
    late = (each.amount_of("overdue") for each in found.currencies)
    assert not overdue or overdue == {
        each.currency: amount for each, amount in zip(found.currencies, late, strict=True) if amount
    }
    assert {each.currency for each in found.currencies if each.milestones} == parts.keys()
    for each in found.currencies:
        assert {s.status: s.amount for s in each.statuses} == parts[each.currency]
        assert_adds_up(each)
        assert each.due_total.amount == dict(due).get(each.currency, 0)
        if each.bridge:
            assert each.bridge[-1].closing == dict(closings)[each.currency]


def assert_adds_up(each: CurrencyFigures) -> None:
    """Assert that the parts of a currency's figures give their sums."""
    undated = each.undated_invoiced.amount if each.undated_invoiced else Decimal(0)
    assert sum((m.total or Decimal(0) for m in each.months), undated) == each.dated
    assert sum(p.amount or 0 for p in each.due) == each.due_total.amount
    assert sum(p.amount or 0 for p in each.unscheduled) == each.amount_of("unscheduled")
    assert sum(age or 0 for age in each.due_total.ages) == each.due_total.amount
    for row in each.bridge:
        moved = (row.new or 0) + (row.increased or 0) - (row.decreased or 0)
        assert (row.opening or 0) + moved - (row.invoiced or 0) - (row.deleted or 0) == row.closing


@pytest.mark.long_on("postgres")
def test_figures_equal_marts(job: Job) -> None:
    """After changes of every kind, each figure equals its mart and the account itself."""
    with Sandbox(milestones=300) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        first = figures(job)
        assert not first.has_changes, "what the first full scan found is no change"
        assert_equals_marts(job, first)
        kinds = change_every_kind(account)
        job.sync(sandbox)
        found = figures(job)
        assert_equals_marts(job, found)
        expected = by_status(account, found.freshness.as_of)
    sums = {(e.currency, s.status): s.subunits for e in found.currencies for s in e.statuses}
    assert sums == expected
    assert {row.id: row.kind for e in found.currencies for row in e.changed} == kinds
    assert next(i for i, kind in kinds.items() if kind == "date moved") in {
        s.id for s in found.slips
    }
    assert_net_is_difference(first, found)
    for each in found.reconciled:
        assert (each.milestones_in_run, each.amount_in_run) == (each.milestones, each.amount)
    assert first.observed_at is not None
    assert found.observed_at is not None
    assert figures(job, first.observed_at).currencies == found.currencies
    assert not figures(job, found.observed_at).has_changes
    assert_others_agree(job, found)


def change_every_kind(account: Account) -> dict[str, str]:
    """Change milestones of an account, each in another way; return the kind of change by id."""
    ids = [i for i in open_ids(account) if account.milestones[i]["date_to_invoice"]]
    raised, moved, billed, dropped, renamed, other = ids[:6]
    amount = account.milestones[raised]["amount_in_cents"]
    account.update_milestone(raised, amount_in_cents=amount + 12_345)
    account.update_milestone(moved, date_to_invoice="2031-05-06")
    account.invoice_milestone(billed)
    account.delete_milestone(dropped)
    account.update_milestone(renamed, title="Renamed")
    currency = "EUR" if account.milestones[other]["currency"] != "EUR" else "USD"
    account.silently_update_milestone(other, currency=currency)
    new = account.create_milestone(title="New", amount_in_cents=777, date_to_invoice="2030-01-15")
    return {
        raised: "amount changed",
        moved: "date moved",
        billed: "invoiced",
        dropped: "deleted",
        renamed: "other fields",
        other: "currency changed",
        new: "new",
    }


def assert_net_is_difference(before: Figures, after: Figures) -> None:
    """Assert that changes add to each currency's sum what it has more than before."""
    sums = {each.currency: each.amount or Decimal(0) for each in before.currencies}
    for each in after.currencies:
        net = sum((total.net or Decimal(0) for total in each.changes), Decimal(0))
        assert each.amount == sums.get(each.currency, 0) + net, each.currency


def assert_others_agree(job: Job, found: Figures) -> None:
    """Assert that the status and the list of what is due give the sums of the figures."""
    today = found.freshness.as_of
    with open_reader(job.target) as reader:
        every, due = (mart_queries.due(reader, day) for day in (date(9999, 12, 31), today))
    status = read_status(job.target)
    for each in found.currencies:
        code = each.currency
        assert sum(m.amount or 0 for m in status.months if m.currency == code) == each.amount
        assert sum(r.amount or 0 for r in due if r.currency == code) == each.due_total.amount
        backlog = (each.later or 0) + (each.due_total.amount or 0)
        assert sum(r.amount or 0 for r in every if r.currency == code) == backlog
    assert max(row.date_to_invoice for row in due) <= today


@pytest.mark.long
def test_unusual_accounts(job: Job) -> None:
    """Amounts without a known minor unit are unknown, not 0; an empty account has no figures."""
    with Sandbox(milestones=10) as sandbox:
        account = sandbox.account
        account.silently_update_milestone(open_ids(account)[0], currency="XTS")
        job.sync(sandbox)
        found = next(each for each in figures(job).currencies if each.currency == "XTS")
        assert (found.has_amounts, found.amount, found.due_total.amount) == (False, None, None)
        assert all(status.subunits for status in found.statuses)
        for id_ in list(account.milestones):
            account.delete_milestone(id_)
        job.sync(sandbox, allow_deletes=True)
        empty = figures(job)
        assert not any(each.milestones for each in empty.currencies)
        assert empty.slips == []
    job.run("update kantata.sync_runs set status = 'failed'")
    with pytest.raises(WarehouseError, match="no validated run yet"):
        figures(job)
