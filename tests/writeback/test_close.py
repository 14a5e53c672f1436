"""Closed months: what was frozen stays, and what changed since is shown."""

from __future__ import annotations

import sqlite3
from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import psycopg2
import pytest

from sources.kantata_sandbox import Account
from tests.support.job import Job
from tests.support.killed_close import close_that_dies
from tests.support.ledgers import Kind
from tests.support.office import Office
from tests.support.processes import run_milestones, start_milestones
from tests.support.sampling import sample
from tests.support.visible import project_details
from warehouse.ledger.closes import add_close, add_reopening, next_number, read_closes
from warehouse.ledger.period import CloseFigure, CloseMilestone, PeriodClose, Reopening, digest_of

UNITS = {"USD": 100, "EUR": 100, "JPY": 1, "KWD": 1000}
BRIDGE = ("opening", "new", "increased", "decreased", "invoiced", "deleted", "closing")
RESTATED = (
    "select milestone_id, dated_before, dated_after, billed_before, billed_after, client_id, "
    "observed_run_id from kantata_marts.period_restatements order by milestone_id, client_id"
)


def _now(account: Account) -> datetime:
    return datetime.fromtimestamp(account.clock.now(), UTC)


def _first(account: Account) -> date:
    """The first day of the account's month."""
    return _now(account).date().replace(day=1)


def _next_month(account: Account) -> str:
    """Let the month end, and half a day pass; return its name."""
    month = _first(account)
    following = (month + timedelta(days=31)).replace(day=1)
    noon = datetime(following.year, following.month, 1, 12, tzinfo=UTC)
    account.advance((noon - _now(account)).total_seconds())
    return f"{month:%Y-%m}"


def _money(record: dict[str, Any]) -> Decimal:
    return Decimal(record["amount_in_cents"]) / UNITS[record["currency"]]


def _clients(account: Account) -> dict[str, str | None]:
    """The client of each milestone."""
    return {
        id_: project_details(account, record["workspace_id"])["client_id"]
        for id_, record in account.milestones.items()
    }


def _sums(rows: list[Any], *names: str) -> dict[Any, Counter[str]]:
    """The sums of some figures by currency."""
    found: dict[Any, Counter[str]] = {}
    for row in rows:
        for name in names:
            found.setdefault(row["currency"], Counter())[name] += Decimal(row[name])
    return found


def _feed(office: Office) -> str:
    """Sync what changed; return the run's id."""
    office.sandbox.account.advance(60)
    run = office.job.sync(office.sandbox, full=False).run
    assert run.mode == "feed"
    return run.run_id


@pytest.mark.long_on("duckdb")
def test_a_month_is_closed_in_order(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is over, read by a full scan, not closed, and no earlier one is open; else it is 2."""
    account, job = office.sandbox.account, office.job
    monkeypatch.setenv("SOURCES__KANTATA__SCAN_EVERY", "90d")
    before = f"{_first(account) - timedelta(days=1):%Y-%m}"
    free, other = office.free()[:2]

    def refused(month: str, words: str) -> None:
        code, said = office.run("close", month, "--as", "kim")
        assert (code, words in said) == (2, True), said

    for month in ("2026-13", "2026-1", "x", "\uff12026-10", "0000-01", "2026-10-01"):
        refused(month, "is not a month")
    refused(f"{_first(account):%Y-%m}", "is not over yet")
    account.update_milestone(free, amount_in_cents=account.milestones[free]["amount_in_cents"] + 5)
    account.delete_milestone(other)
    job.sync(office.sandbox)
    month = _next_month(account)
    _feed(office)
    refused(month, "run `milestones sync --full`")
    job.sync(office.sandbox)
    second = _next_month(account)
    job.sync(office.sandbox)
    refused(before, f"is before {month}")
    refused(second, f"{month} is still open")
    code, said = office.run("close", "--show", month)
    assert (code, "was never closed" in said) == (2, True), said
    code, said = office.run("reopen", month, "--reason", "r", "--as", "kim")
    assert (code, "is not closed" in said) == (2, True), said

    words = ("close", month, "--destination", job.name, "--as")
    started = [
        start_milestones(*words, name, stdout=DEVNULL, stderr=DEVNULL) for name in ("ann", "bob")
    ]
    codes = [process.wait(60) for process in started]
    assert sorted(codes) == [0, 2]
    winner = ("ann", "bob")[codes.index(0)]
    refused(month, f"was already closed, by {winner}")
    shown = office.json("close", "--show", month)
    bridge = {
        row[0]: dict(zip(BRIDGE, row[1:], strict=True))
        for row in job.rows(
            f"select currency, {', '.join(BRIDGE)} from kantata_marts.backlog_bridge "
            f"where month = date '{month}-01'"
        )
    }
    assert _sums(shown["figures"], *BRIDGE) == bridge
    assert any(sums["deleted"] for sums in bridge.values())
    assert any(sums["increased"] for sums in bridge.values())
    clients, closings = _clients(account), Counter[tuple[str | None, str]]()
    for id_, record in account.milestones.items():
        if record["date_to_invoice"] and not record["invoice_id"]:
            closings[clients[id_], record["currency"]] += _money(record)  # type: ignore[assignment]
    found = {(row["client_id"], row["currency"]): row["closing"] for row in shown["figures"]}
    assert {key: Decimal(each) for key, each in found.items() if Decimal(each)} == closings
    # What was frozen does not change with the time zone, and the next month is closed in its own.
    before_change = office.run("close", "--show", month)
    monkeypatch.setenv("WAREHOUSE__REPORTING_TIMEZONE", "Asia/Tokyo")
    refused(second, "the marts were built in UTC: run `milestones sync` first")
    job.sync(office.sandbox)
    code, said = office.run("close", "--show", month)
    assert said.startswith(before_change[1])
    assert said.endswith(
        "is Asia/Tokyo now; this month was closed in UTC, and what was frozen stays as it is"
    )
    assert office.run("close", second, "--as", "kim")[0] == 0
    assert office.json("close", "--show", second)["reporting_timezone"] == "Asia/Tokyo"
    code, said = office.run("reopen", month, "--reason", "r", "--as", "kim")
    assert (code, f"{second} is closed" in said) == (2, True), said


@pytest.mark.long_on("postgres")
def test_restatements(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each edit after the close gives one row with the run that saw it; a title gives none."""
    account, job = office.sandbox.account, office.job
    monkeypatch.setenv("SOURCES__KANTATA__SCAN_EVERY", "90d")
    first = _first(account)
    *free, retitled = office.free()
    project = account.milestones[retitled]["workspace_id"]  # its client changes later
    free = [id_ for id_ in free if account.milestones[id_]["workspace_id"] != project]
    raised, moved, entered, deleted, billed = free[:5]
    for id_ in (raised, moved, deleted, retitled, billed):
        account.update_milestone(id_, date_to_invoice=f"{first}")
    account.update_milestone(entered, date_to_invoice=f"{first + timedelta(days=31)}")
    other_client = min(set(account.workspace_groups) - {_clients(account)[retitled]})
    invoice = account.invoice_milestone(billed)
    account.update_invoice(invoice, invoice_date=f"{first}")
    month = _next_month(account)
    job.sync(office.sandbox)
    code, closed = office.run("close", month, "--as", "kim")
    assert code == 0, closed
    frozen = office.json("close", "--show", month)
    assert office.run("close", "--show", month) == (0, closed)

    account.update_milestone(retitled, title="another")
    account.pay_invoice(invoice)
    _feed(office)
    assert job.rows(RESTATED) == []
    copied = "select digest from kantata.period_closes"
    assert job.rows(copied) == [(frozen["digest"],)]

    clients, worth = _clients(account), {i: _money(m) for i, m in account.milestones.items()}
    cent = worth[raised] / account.milestones[raised]["amount_in_cents"]
    account.update_milestone(
        raised, amount_in_cents=account.milestones[raised]["amount_in_cents"] + 1
    )
    run = _feed(office)
    rows = {raised: (worth[raised], worth[raised] + cent, 0, 0, clients[raised], run)}
    assert job.rows(RESTATED) == [(id_, *row) for id_, row in rows.items()]

    account.update_milestone(raised, title="later")
    account.update_milestone(moved, date_to_invoice=f"{first - timedelta(days=1)}")
    account.update_milestone(entered, date_to_invoice=f"{first + timedelta(days=2)}")
    account.delete_milestone(deleted)
    account.update_invoice(invoice, invoice_date=f"{first + timedelta(days=40)}")
    # A milestone of another client leaves the one and enters the other, so that sums agree.
    account.update_optional_fields(project, primary_workspace_group_id=other_client)
    account.advance(86_400)
    run = _feed(office)
    rows[moved] = (worth[moved], 0, 0, 0, clients[moved], run)
    rows[entered] = (0, worth[entered], 0, 0, clients[entered], run)
    rows[deleted] = (worth[deleted], 0, 0, 0, clients[deleted], run)
    rows[billed] = (worth[billed], worth[billed], worth[billed], 0, clients[billed], run)
    found = job.rows(RESTATED)
    assert [row for row in found if row[0] in rows] == [(id_, *rows[id_]) for id_ in sorted(rows)]
    both = {row[5]: (row[1], row[2], row[6]) for row in found if row[0] == retitled}
    assert both == {
        clients[retitled]: (worth[retitled], 0, run),
        other_client: (0, worth[retitled], run),
    }
    assert _restated_sums(job, month) == _present_sums(job, month)

    # A reopened month is compared with nothing; closed again, it is as it is now.
    shown = office.json("reopen", month, "--reason", "late edits", "--as", "lee")
    assert shown["reopened"]["reason"] == "late edits"
    assert "reopened by lee" in office.run("close", "--show", month)[1]
    assert office.json("close", "--show", month)["figures"] == frozen["figures"]
    assert office.run("close", month, "--as", "kim")[0] == 0
    assert office.json("close", "--show", month)["close_number"] == 2
    _feed(office)
    assert job.rows(RESTATED) == []
    assert job.rows(f"{copied} where close_number = 1") == [(frozen["digest"],)]


def _restated_sums(job: Job, month: str) -> list[Any]:
    """What was frozen plus what was restated, by client and currency."""
    return job.rows(
        "select client_id, currency, sum(dated), sum(billed) from (select client_id, currency, "
        "dated, billed from kantata.period_close_figures union all select client_id, currency, "
        "dated_after - dated_before, billed_after - billed_before "
        f"from kantata_marts.period_restatements where month = date '{month}-01') parts "
        "group by 1, 2 having sum(dated) <> 0 or sum(billed) <> 0 order by 1, 2"
    )


def _present_sums(job: Job, month: str) -> list[Any]:
    """What is dated in the month now, by client and currency."""
    lies_in = f"::text like '{month}%'"
    return job.rows(
        "select client_id, currency, sum(dated), sum(billed) from (select client_id, currency, "
        f"case when date_to_invoice{lies_in} then amount else 0 end as dated, "
        f"case when invoice_date{lies_in} and invoice_state in ('issued', 'paid') then amount "
        "else 0 end as billed from kantata_marts.billing_milestones) parts "
        "group by 1, 2 having sum(dated) <> 0 or sum(billed) <> 0 order by 1, 2"
    )


@pytest.mark.long
def test_a_lost_ledger_has_its_closes_again(
    office: Office, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each run copies them; they are restored, moved, and an altered one is noticed."""
    job, ledger = office.job, Path(".milestones/ledger.sqlite")
    month = _next_month(office.sandbox.account)
    job.sync(office.sandbox)
    assert office.run("close", month, "--as", "kim")[0] == 0
    shown = office.json("close", "--show", month)
    job.sync(office.sandbox, full=False)
    if job.name == "duckdb":
        for file in ledger.parent.glob("ledger.sqlite*"):
            file.unlink()
    else:
        job.run("drop schema kantata_ledger cascade")
    synced = job.sync(office.sandbox, full=False)
    assert "the ledger is missing" in "".join(synced.run.warnings)
    assert office.run("check")[0] == 3
    code, said = office.run("changes")
    assert (code, "restored from its copy in the warehouse: 1 closed month." in said) == (
        3,
        True,
    ), said
    assert office.json("close", "--show", month) == shown
    assert office.json("audit", "--verify")["problems"] == []
    if job.name == "duckdb":
        url = str(request.getfixturevalue("postgres_url"))
        monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", url)
        assert run_milestones("move").returncode == 0
        moved = Office(Job("postgres", url), office.sandbox)
        assert moved.json("close", "--show", month) == shown
        job = moved.job
    else:
        moved = office
    assert job.rows("select digest from kantata.period_closes") == [(shown["digest"],)]
    assert moved.json("restore", "--ledger-from", "warehouse", "--reason", "r")["closes"] == 1
    job.run("drop trigger period_close_figures_refused on kantata_ledger.period_close_figures")
    job.run("update kantata_ledger.period_close_figures set closing = '1' where row_number = 1")
    code, said = moved.run("close", "--show", month)
    assert (code, "was altered in the ledger" in said) == (1, True), said
    code, said = moved.run("audit", "--verify")
    assert (code, f"the closed month {month}" in said) == (1, True), said
    assert moved.run("reopen", month, "--reason", "altered", "--as", "kim")[0] == 0


def _close(number: int) -> PeriodClose:
    """A close with a row of each kind."""
    figure = CloseFigure(
        client_id=None, client=None, currency="EUR", decimals=2, opening=Decimal("1.50"),
        new=Decimal(0), increased=Decimal(0), decreased=Decimal(0), invoiced=Decimal(0),
        deleted=Decimal(0), closing=Decimal("1.500000"), dated_milestones=1, dated=None,
        billed_milestones=0, billed=Decimal(-100),
    )  # fmt: skip
    milestone = CloseMilestone(
        milestone_id="7", client_id="1", client="ü", currency="EUR", amount_in_cents=2**40,
        amount=Decimal(2**40) / 100, date_to_invoice=date(2026, 10, 3), status="scheduled",
        invoice_id=None, invoice_date=None, invoice_state=None,
    )  # fmt: skip
    return PeriodClose(
        close_number=number, month=date(2026, 10, 1), closed_by="kim",
        closed_at=datetime(2026, 11, 1, 8, tzinfo=UTC), run_id="r", observed_until=None,
        reporting_timezone="UTC", db_user=None, figures=[figure], milestones=[milestone],
    )  # fmt: skip


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(20, id="some", marks=pytest.mark.long_on("postgres")),
        pytest.param(1, id="all", marks=pytest.mark.long),
    ],
)
def test_a_killed_close_is_whole_or_nothing(
    office: Office, step: int, record_property: pytest.RecordProperty
) -> None:
    """Wherever a close dies, the month is closed with every figure, or open and can be closed."""
    month = _next_month(office.sandbox.account)
    office.job.sync(office.sandbox)
    lines = close_that_dies(office.job.name, month, 1_000_000)
    assert lines
    assert lines > 40
    whole = office.json("close", "--show", month)
    closed_already = []
    chosen = sample(range(1, lines + 1), step)
    for line in chosen.items:
        assert office.run("reopen", month, "--reason", "again", "--as", "ann")[0] == 0
        assert close_that_dies(office.job.name, month, line) is None
        code, said = office.run("close", month, "--as", "kim")
        if code:
            assert "was already closed, by kim" in said
            closed_already.append(line)
        shown = office.json("close", "--show", month)
        for name in ("figures", "milestones"):
            assert shown.get(name) == whole.get(name), line
        assert office.run("audit", "--verify")[0] == 0
    record_property("killed", f"{len(chosen.items)} lines ({chosen.about})")
    assert not any(line < lines // 2 for line in closed_already)


def test_closes_are_only_added(kind: Kind) -> None:
    """The database itself refuses to alter or remove a closed month, and its reopening."""
    with kind.open() as ledger:
        with ledger.transaction():
            close = _close(next_number(ledger))
            add_close(ledger, close)
            reopening = Reopening(reopened_by="lee", reopened_at=close.closed_at, reason="r")
            add_reopening(ledger, 1, reopening)
        (stored,) = read_closes(ledger)
        assert stored == replace(close, digest=digest_of(close))
        assert stored.is_intact
        assert stored.reopening == reopening
    tables = ("closes", "close_figures", "close_milestones", "reopens")
    for table in (f"{{schema}}period_{name}" for name in tables):
        copy = f"insert or replace into {table} select * from {table}"
        for statement in (
            f"update {table} set close_number = 2",
            f"delete from {table}",
            f"truncate {table}" if kind.schema else copy,
        ):
            with pytest.raises((sqlite3.IntegrityError, psycopg2.Error), match="never altered"):
                kind.sql(statement)


def test_every_frozen_value_is_covered_by_the_digest() -> None:
    """Closes that differ in any frozen value have different digests; 1.5 and 1.50 are equal."""
    close = _close(1)
    (figure,), (milestone,) = close.figures, close.milestones
    assert digest_of(
        replace(close, figures=[replace(figure, opening=Decimal("1.5"))])
    ) == digest_of(close)
    others = [
        *(replace(close, figures=[replace(figure, **{n: "9"})]) for n in vars(figure)),
        *(replace(close, milestones=[replace(milestone, **{n: "9"})]) for n in vars(milestone)),
        *(replace(close, **{n: "9"}) for n in vars(close) if n not in
          ("figures", "milestones", "digest", "reopening")),
    ]  # fmt: skip
    assert len({digest_of(close), *map(digest_of, others)}) == len(others) + 1
