"""Questions 11 to 20 of ANALYSTS.md, and every metric, compared with the sandbox's own records."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import UTC, date, datetime
from decimal import Decimal
from time import sleep
from typing import Any

import pytest

from pipelines.ops.figures import read_figures
from pipelines.ops.periods import close_period
from pipelines.runtime.clock import utc_now
from sources.kantata_sandbox import Account, Sandbox
from tests.support.accounts import open_ids
from tests.support.invoice_truth import age_of, days, money, state, today
from tests.support.job import Job
from tests.support.questions import SQL
from tests.support.rates import account_rates, converted
from warehouse.models.metrics import Unit, metrics
from warehouse.reader import open_reader

DAY = 86_400
Row = tuple[Any, ...]


def client_of(account: Account, project: str) -> str | None:
    """The name of a project's client."""
    group = account.optional_fields[project]["primary_workspace_group_id"]
    return account.workspace_groups[group]["name"] if group else None


def lead_of(account: Account, project: str) -> str:
    """The name of a project's lead."""
    return str(account.optional_fields[project]["provider_lead_name"])


def prepare(account: Account) -> None:
    """Let clients pay, late and in parts; drafts, credits and milestones without a date exist."""
    issued = [i for i in account.invoices.values() if state(i) == "issued"]
    on_two = open_ids(account)[:2]
    for id_ in on_two:
        account.update_milestone(id_, date_to_invoice="2026-10-03")
        issued.append(account.invoices[account.invoice_milestone(id_)])
    account.update_invoice(issued[-1]["id"], balance_in_cents=10**9, due_date="2026-10-20")
    account.invoice_milestone(open_ids(account)[3], draft=True)
    account.update_milestone(open_ids(account)[4], date_to_invoice="2026-11-20")


def sums(rows: Iterable[tuple[Row, tuple[Any, ...]]]) -> dict[Row, list[Any]]:
    """Sums of values by their keys."""
    found: dict[Row, list[Any]] = {}
    for key, values in rows:
        before = found.get(key, [0] * len(values))
        found[key] = [a + b for a, b in zip(before, values, strict=True)]
    return found


class Truth:
    """The answers, from the records of the account alone."""

    def __init__(self, account: Account) -> None:
        self.account = account
        self.today = today(account)
        self.milestones = list(account.milestones.values())
        self.invoices = account.invoices

    def receivables(self) -> list[Row]:
        """Open invoices: client, currency, balance, milestone amount, days past due, id."""
        on_it: dict[str, list[Any]] = defaultdict(list)
        for record in self.milestones:
            on_it[record["invoice_id"]].append(record)
        found = []
        for id_, invoice in self.invoices.items():
            if id_ in on_it and state(invoice) == "issued" and invoice["balance_in_cents"]:
                clients = {client_of(self.account, m["workspace_id"]) for m in on_it[id_]}
                client = clients.pop() if len(clients) == 1 else None
                currency = invoice["currency"]
                billed = money(sum(m["amount_in_cents"] for m in on_it[id_]), currency)
                late = days(invoice["due_date"], str(self.today))
                balance = money(invoice["balance_in_cents"], currency)
                found.append((client, currency, balance, billed, late, id_))
        return found

    def late(self) -> list[Row]:
        """Question 11."""
        rows = [r for r in self.receivables() if r[4] is not None and r[4] > 0]
        total = sums(((r[0], r[1]), (1, r[2])) for r in rows)
        longest = {k: max(r[4] for r in rows if r[:2] == k) for k in total}
        return [(*key, *values, longest[key]) for key, values in total.items()]

    def overdue(self) -> list[Row]:
        """Question 12."""
        rows = []
        for m in self.milestones:
            late = days(m["date_to_invoice"], str(self.today))
            if m["invoice_id"] is None and late is not None and late > 0:
                key = (lead_of(self.account, m["workspace_id"]), m["currency"])
                rows.append((key, money(m["amount_in_cents"], m["currency"]), late))
        total = sums((key, (1, amount)) for key, amount, _ in rows)
        return [(*k, *v, max(r[2] for r in rows if r[0] == k)) for k, v in total.items()]

    def exact(self, record: Any, at: date | None) -> Decimal | None:  # noqa: ANN401 - any JSON
        """The exact amount of a milestone in EUR."""
        rates = account_rates(self.account, "EUR")
        exact: Decimal | None = converted(record, at, "EUR", rates)[1]
        return exact

    def against_plan(self) -> list[Row]:
        """Question 13."""
        groups: dict[Row, list[Row]] = defaultdict(list)
        for m in self.milestones:
            if m["date_to_invoice"]:
                day = date.fromisoformat(m["date_to_invoice"])
                quarter = date(day.year, 3 * ((day.month - 1) // 3) + 1, 1)
                kind = state(self.invoices[m["invoice_id"]]) if m["invoice_id"] else ""
                key = (quarter, client_of(self.account, m["workspace_id"]), "EUR")
                groups[key].append((self.exact(m, day), kind in ("issued", "paid")))
        found = []
        for key, rows in groups.items():
            missing = sum(exact is None for exact, _ in rows)
            planned = None if missing else sum(exact for exact, _ in rows)
            billed = None if missing else sum(exact for exact, is_billed in rows if is_billed)
            found.append((*key, planned, None if missing else Decimal(billed or 0), missing))
        return found

    def durations(self) -> list[Row]:
        """Question 15, without the averages of payments."""
        waits: dict[Row, list[int]] = defaultdict(list)
        for m in self.milestones:
            invoice = self.invoices.get(m["invoice_id"] or "")
            if invoice and state(invoice) in ("issued", "paid") and m["date_to_invoice"]:
                project = m["workspace_id"]
                key = (client_of(self.account, project), lead_of(self.account, project))
                waits[key].append(days(m["date_to_invoice"], invoice["invoice_date"]) or 0)
        return [(*k, len(w), sum(w) / len(w)) for k, w in waits.items()]

    def drafts(self) -> list[Row]:
        """Question 16."""
        rows = (
            ((lead_of(self.account, m["workspace_id"]), m["currency"]),
             (1, money(m["amount_in_cents"], m["currency"])))
            for m in self.milestones
            if m["invoice_id"] and state(self.invoices[m["invoice_id"]]) == "draft"
        )  # fmt: skip
        return [(*key, *values) for key, values in sums(rows).items()]

    def ages(self) -> list[Row]:
        """Question 17."""
        rows = (((r[1], age_of(r[4])), (1, r[2], r[3])) for r in self.receivables())
        return [(*key, *values) for key, values in sums(rows).items()]

    def backlog(self) -> list[Row]:
        """Question 18."""
        parts: dict[Row, list[Any]] = defaultdict(list)
        for m in self.milestones:
            if m["invoice_id"] is None and m["date_to_invoice"]:
                client = client_of(self.account, m["workspace_id"])
                parts[(client, "EUR")].append(self.exact(m, self.today))
        return [(*k, len(p), None if None in p else sum(p)) for k, p in parts.items()]

    def without_client(self) -> set[str]:
        """Question 19: projects with a backlog and without a client."""
        dated = (m for m in self.milestones if not m["invoice_id"] and m["date_to_invoice"])
        projects = {m["workspace_id"] for m in dated}
        return {project for project in projects if client_of(self.account, project) is None}


def same(found: Iterable[Row], expected: Iterable[Row]) -> None:
    """Assert the same rows in any order, and that there are some."""
    rows = Counter(map(_plain, found))
    assert rows
    assert rows == Counter(map(_plain, expected))


def _plain(row: Row) -> Row:
    return tuple(v.normalize() + 0 if isinstance(v, Decimal) else v for v in row)


@pytest.mark.long_on("duckdb")
def test_questions_and_metrics(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each question has the answer that Python computes; each metric that of the report."""
    monkeypatch.setenv("WAREHOUSE__REPORTING_CURRENCY", "EUR")
    with Sandbox(milestones=120, now=datetime(2026, 11, 3, 12, tzinfo=UTC)) as sandbox:
        account = sandbox.account
        prepare(account)
        job.sync(sandbox)
        issued = [i["id"] for i in account.invoices.values() if state(i) == "issued"]
        account.advance(3 * DAY)
        account.pay_invoice(issued[0])
        account.pay_invoice(issued[1], 1)
        job.sync(sandbox)
        assert_answers(job, Truth(account))
        assert_metrics(job)
        account.advance(40 * DAY)
        job.sync(sandbox)
        close_period(job.target, date(2026, 11, 1), "ann", utc_now)
        assert not job.rows(SQL[14])
        changed = next(m for m in account.milestones.values() if is_open_in_november(m))
        before = money(changed["amount_in_cents"], changed["currency"])
        account.update_milestone(changed["id"], amount_in_cents=1)
        sleep(1.1)  # Kantata's dates, which correct the clock of this machine, are whole seconds
        run = job.sync(sandbox).run.run_id
    client, after = client_of(account, changed["workspace_id"]), money(1, changed["currency"])
    named = (date(2026, 11, 1), client, changed["currency"], changed["id"], changed["title"])
    assert job.rows(SQL[14]) == [(*named, before, after, 0, 0, run)]


def is_open_in_november(record: dict[str, Any]) -> bool:
    """Whether a milestone is dated in November 2026 and not invoiced."""
    return not record["invoice_id"] and str(record["date_to_invoice"]).startswith("2026-11")


def assert_answers(job: Job, truth: Truth) -> None:
    """Assert the answers to all questions but the fourteenth."""
    same(job.rows(SQL[11]), truth.late())
    same(job.rows(SQL[12]), truth.overdue())
    same(job.rows(SQL[13]), truth.against_plan())
    waits = sorted(truth.durations(), key=str)
    found = sorted(job.rows(SQL[15]), key=str)
    assert [row[:3] for row in found] == [row[:3] for row in waits]
    assert [float(row[3]) for row in found] == pytest.approx([w[3] for w in waits], abs=0.051)
    same(job.rows(SQL[16]), truth.drafts())
    same(job.rows(SQL[17]), truth.ages())
    same(job.rows(SQL[18]), truth.backlog())
    projects = job.rows(SQL[19])
    assert {row[0] for row in projects} == truth.without_client()
    assert all(row[2] is None and row[4] is None for row in projects)
    more = [(r[5], r[0], r[1], r[2], r[3], r[2] - r[3]) for r in truth.receivables() if r[2] > r[3]]
    same(job.rows(SQL[20]), more)


def assert_metrics(job: Job) -> None:
    """Assert that each metric can be grouped as it says, and equals what people are shown."""
    with open_reader(job.target) as reader:
        figures = read_figures(reader)
    for metric in metrics().values():
        by_currency = dict(job.rows(metric.sql("currency")))
        for dimension in metric.dimensions:
            rows = job.rows(metric.sql(dimension))
            assert rows, (metric.name, dimension)
            if metric.unit is Unit.MONEY and dimension != "currency":
                total = sums(((row[0],), (row[-1],)) for row in rows)
                assert {key: value for (key,), (value,) in total.items()} == by_currency
    values = {name: dict(job.rows(metrics()[name].sql("currency"))) for name in metrics()}
    for each in figures.currencies:
        for name, status in (
            ("billed", "invoiced"),
            ("overdue", "overdue"),
            ("scheduled", "scheduled"),
            ("unscheduled", "unscheduled"),
        ):
            assert values[name].get(each.currency, 0) == each.amount_of(status), name
        assert values["milestones"][each.currency] == each.milestones
        assert values["backlog"][each.currency] == each.bridge[-1].closing
        billed = (
            values[f"billed_{kind}"].get(each.currency, 0) for kind in ("draft", "open", "paid")
        )
        assert sum(billed) == values["billed"].get(each.currency, 0)
