"""The figures of the marts at the edges of days, ages and months."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from sources.kantata_sandbox import Account, Sandbox
from tests.support.histories import Histories, Record, due, moves
from tests.support.job import Job
from warehouse.database import connect
from warehouse.models import build

Row = tuple[Any, ...]
ZONES = (
    "Pacific/Auckland",
    pytest.param("America/Los_Angeles", marks=pytest.mark.long),
    pytest.param("UTC", marks=pytest.mark.long),
)
NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)
# Days from today to a date: today, the edges of the ages, their neighbours, and other months.
OFFSETS = (0, -1, 1, -19, -20, -30, -31, -60, -61, -90, -91, -400, 10, 11, 41, 45, 72, 400)


def money(account: Account, milestone: Record) -> Decimal:
    """The amount of a milestone in money."""
    units = {c["iso_code"]: c["subunit_to_unit"] for c in account.currencies.values()}
    return Decimal(milestone["amount_in_cents"]) / units[milestone["currency"]]


def in_two_currencies(account: Account, today: date) -> None:
    """Create a USD and a KWD milestone for each offset; every subset has a different sum."""
    projects = {w["currency"]: w["id"] for w in account.workspaces.values()}
    for number, days in enumerate(OFFSETS):
        for place, currency in enumerate(("USD", "KWD")):
            account.create_milestone(
                workspace_id=projects[currency],
                currency=currency,
                amount_in_cents=(3 + place) ** number + 1,
                date_to_invoice=(today + timedelta(days=days)).isoformat(),
            )
    for days in (-5, 5):
        day = (today + timedelta(days=days)).isoformat()
        account.invoice_milestone(account.create_milestone(date_to_invoice=day))
    account.create_milestone()


def status(milestone: Record, today: date) -> str:
    """The expected status of a milestone."""
    if milestone["invoice_id"]:
        return "invoiced"
    day = due(milestone)
    if day is None:
        return "unscheduled"
    return "overdue" if day < today else "scheduled"


def backlog(account: Account) -> list[tuple[Record, date]]:
    """Milestones with a date and without an invoice, each with its date."""
    found = [(m, due(m)) for m in account.milestones.values() if not m["invoice_id"]]
    return [(m, day) for m, day in found if day]


def ages(account: Account, today: date) -> set[Row]:
    """The expected rows of `billing_backlog`."""
    found: dict[tuple[str, str], list[Decimal]] = defaultdict(lambda: [Decimal(0)] * 7)
    for m, day in backlog(account):
        age = (today - day).days
        place = next(n for n, most in enumerate((-1, 30, 60, 90, 10**9)) if age <= most)
        line = found[m["workspace_id"], m["currency"]]
        line[0] += 1
        for number in (1, 2 + place):
            line[number] += money(account, m)
    return {(*key, *line) for key, line in found.items()}


def forecast(account: Account, today: date) -> list[Row]:
    """The expected rows of `billing_forecast`."""
    found: dict[tuple[str, date], list[Any]] = defaultdict(lambda: [0, 0, Decimal(0), Decimal(0)])
    for m, day in backlog(account):
        amount = money(account, m)
        overdue = amount if day < today else 0
        line = found[m["currency"], max(day, today).replace(day=1)]
        for number, more in enumerate((1, m["amount_in_cents"], amount, overdue)):
            line[number] += more
    cumulative: Counter[str] = Counter()
    rows = []
    for (currency, month), line in sorted(found.items()):
        cumulative[currency] += line[2]
        rows.append((currency, month, *line, cumulative[currency]))
    return rows


@pytest.mark.long_on("postgres")
def test_days_and_ages(job: Job) -> None:
    """A milestone due today is not overdue, 90 days are not over 90, and months add up."""
    today = NOON.date()
    with Sandbox(milestones=0, now=NOON) as sandbox:
        account = sandbox.account
        in_two_currencies(account, today)
        assert job.sync(sandbox).exit_code == 0
    statuses = "select id, status, days_overdue from kantata_marts.billing_milestones"
    for id_, found, days in job.rows(statuses):
        milestone = account.milestones[id_]
        assert found == status(milestone, today), milestone["date_to_invoice"]
        day = due(milestone)
        assert days == ((today - day).days if day and found == "overdue" else 0)
    aged = job.rows(
        "select workspace_id, currency, milestones, amount, not_due, age_0_30, age_31_60, "
        "age_61_90, age_over_90 from kantata_marts.billing_backlog"
    )
    assert len(aged) == 2
    assert set(aged) == ages(account, today)
    rows = job.rows(
        "select currency, month, milestones, subunits, amount, overdue, cumulative "
        "from kantata_marts.billing_forecast order by currency, month"
    )
    assert rows == forecast(account, today)
    assert len(rows) == 2 * 4


def slipped(account: Account, id_: str, records: list[Record]) -> Row:
    """The expected row of `milestone_slippage` for a milestone."""
    first, now = records[0], records[-1]
    dates = [due(record) for record in records]
    first_date = next(filter(None, dates), None)
    both = first_date and dates[-1]
    same = first["currency"] == now["currency"]
    return (
        id_,
        first_date,
        dates[-1],
        (dates[-1] - first_date).days if both else None,
        moves(dates),
        first["amount_in_cents"],
        now["amount_in_cents"],
        money(account, now) - money(account, first) if same else None,
        moves((record["amount_in_cents"], record["currency"]) for record in records),
    )


def on(day: str | None) -> dict[str, Any]:
    """Fields with this date."""
    return {"date_to_invoice": day}


def at(subunits: int, **more: str) -> dict[str, Any]:
    """Fields with this amount, and others."""
    return {"amount_in_cents": subunits, **more}


# Each line is the history of one milestone: the fields set before each sync.
HISTORIES: list[list[dict[str, Any]]] = [
    [{}],
    [on(None), on("2027-01-10")],
    [on(None), on("2027-01-10"), on("2027-03-01")],
    [on("2027-01-10"), on(None), on("2027-02-10")],
    [on("2027-01-10"), on(None)],
    [on("2027-01-10"), on("2026-12-31")],
    [at(1000), at(1500), at(1200)],
    [at(1000), at(400)],
    [at(1000), {"currency": "KWD"}],
    [at(1000), {"currency": "KWD"}, at(7, currency="USD")],
    [at(1000), {"title": "other"}, at(1000, title="third")],
    [at(-5), at(5) | on("2027-01-10")],
]


@pytest.mark.long_on("postgres")
def test_slippage(job: Job) -> None:
    """Slippage compares the first with the present date and amount, and counts the moves."""
    histories = Histories()
    with Sandbox(milestones=0, now=NOON) as sandbox:
        account = sandbox.account
        ids = [account.create_milestone(**life[0]) for life in HISTORIES]
        for step in range(1, 4):
            job.sync(sandbox)
            histories.observe(account)
            for id_, life in zip(ids, HISTORIES, strict=True):
                if step < len(life):
                    account.update_milestone(id_, **life[step])
        deleted = account.create_milestone(title="deleted again")
        job.sync(sandbox)
        account.delete_milestone(deleted)
        job.sync(sandbox)
    rows = job.rows(
        "select id, first_date_to_invoice, date_to_invoice, days_slipped, date_moves, "
        "first_amount_in_cents, amount_in_cents, amount_change, amount_moves "
        "from kantata_marts.milestone_slippage"
    )
    assert len(rows) == len(HISTORIES)
    by_id = {id_: [v.record for v in histories.versions[id_]] for id_ in account.milestones}
    assert set(rows) == {slipped(account, id_, records) for id_, records in by_id.items()}


@pytest.mark.long_on("postgres")
@pytest.mark.parametrize("zone", ZONES)
def test_today_is_that_of_the_zone(job: Job, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """East of UTC a day and a month begin earlier, west of it later; overdue follows them."""
    monkeypatch.setenv("WAREHOUSE__REPORTING_TIMEZONE", zone)
    hour = 5 if zone == "America/Los_Angeles" else -11
    evening = datetime(2026, 12, 1, tzinfo=UTC) + timedelta(hours=hour)
    today = evening.astimezone(ZoneInfo(zone)).date()
    with Sandbox(milestones=0, now=evening) as sandbox:
        account = sandbox.account
        in_two_currencies(account, date(2026, 12, 1))
        assert job.sync(sandbox).exit_code == 0
    assert job.rows("select as_of from kantata_marts.data_freshness") == [(today,)]
    statuses = job.rows("select id, status from kantata_marts.billing_milestones")
    assert dict(statuses) == {id_: status(m, today) for id_, m in account.milestones.items()}
    rows = job.rows(
        "select currency, month, milestones, subunits, amount, overdue, cumulative "
        "from kantata_marts.billing_forecast order by currency, month"
    )
    assert rows == forecast(account, today)


def observed(job: Job, moments: dict[str, Sequence[datetime]]) -> None:
    """Set the times at which the versions of milestones were observed."""
    listed = ", ".join(
        f"('{id_}', {number}, timestamptz '{moment}')"
        for id_, times in moments.items()
        for number, moment in enumerate(times, start=1)
    )
    job.run(
        "update kantata.billing_milestone_versions v set observed_at = n.moment "
        f"from (values {listed}) n (id, version, moment) "
        "where v.id = n.id and v.version = n.version"
    )


@pytest.mark.long_on("duckdb")
@pytest.mark.parametrize("zone", ZONES)
def test_months_are_those_of_the_zone(job: Job, zone: str) -> None:
    """A version observed near the end of a month counts in the month of the zone."""
    first = datetime(2026, 9, 15, tzinfo=UTC)
    moments = [
        datetime(2026, month, day, hour, minute, tzinfo=UTC) + timedelta(seconds=second)
        for month, day in ((9, 30), (10, 1))
        for hour, minute, second in ((6, 59, 59), (7, 0, 0), (10, 59, 59), (11, 0, 0), (23, 59, 59))
    ]
    with Sandbox(milestones=0, now=NOON) as sandbox:
        account = sandbox.account
        fields = at(10_000) | on("2027-01-10")
        ids = [account.create_milestone(**fields) for _ in moments]
        job.sync(sandbox)
        for number, id_ in enumerate(ids):
            account.update_milestone(id_, amount_in_cents=10_000 + 2**number)
        job.sync(sandbox)
    observed(job, {id_: (first, moment) for id_, moment in zip(ids, moments, strict=True)})
    with connect(job.target.destination) as database:
        day = build.BuildContext(run_id="run", as_of=NOON.date(), timezone=zone)
        assert build.build_marts(database, day, always=True) == []
    increased: Counter[date] = Counter()
    for number, moment in enumerate(moments):
        increased[moment.astimezone(ZoneInfo(zone)).date().replace(day=1)] += 2**number
    closing = Decimal(10_000 * len(ids))
    expected = [(date(2026, 9, 1), closing, increased[date(2026, 9, 1)])]
    expected += [(date(2026, month, 1), 0, increased[date(2026, month, 1)]) for month in (10, 11)]
    rows = job.rows(
        "select month, new * 100, increased * 100 from kantata_marts.backlog_bridge order by month"
    )
    assert rows == expected
    assert sum(row[2] for row in rows) == 2 ** len(moments) - 1


@pytest.mark.long
def test_times_never_go_back(job: Job) -> None:
    """Versions that were observed by a clock that was set back still follow each other."""
    moments = [NOON + timedelta(hours=hours) for hours in (10, 5, 7, 20)]
    valid = [moments[0], moments[0], moments[0], moments[3]]
    with Sandbox(milestones=0, now=NOON) as sandbox:
        id_ = sandbox.account.create_milestone(title="0")
        for number in range(1, len(moments) + 1):
            job.sync(sandbox, full=number == 1)
            sandbox.account.update_milestone(id_, title=str(number))
    observed(job, {id_: moments})
    with connect(job.target.destination) as database:
        assert (
            build.build_marts(
                database,
                build.BuildContext(run_id="run", as_of=NOON.date(), timezone="UTC"),
                always=True,
            )
            == []
        )
    rows = job.rows(
        "select version, valid_from, valid_to, title from kantata_marts.billing_milestone_history "
        "order by version"
    )
    assert rows == [
        (number + 1, start, end, str(number))
        for number, (start, end) in enumerate(zip(valid, [*valid[1:], None], strict=True))
    ]
