"""Amounts in the reporting currency equal those of Python's decimals; no rate is guessed."""

from __future__ import annotations

from calendar import monthrange
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from sources.kantata_sandbox import Account, Fault, Sandbox
from tests.support.altered import altered
from tests.support.job import Job
from tests.support.rates import Rates, account_rates, converted, rounded
from warehouse.errors import WarehouseChecksFailed, WarehouseMisconfigured

USD = (
    "select distinct rate_today, rate_source_today "
    "from kantata_marts.billing_milestones_reporting where currency = 'USD'"
)
_PARTS = (
    "amount_{0}_reporting", "exact_{0}_reporting", "rate_{0}", "rate_date_{0}", "rate_source_{0}"
)  # fmt: skip
_COLUMNS = [part.format(at) for at in ("at_date", "at_month_end", "today") for part in _PARTS]
ROWS = f"select id, {', '.join(_COLUMNS)} from kantata_marts.billing_milestones_reporting"
TOTALS = (
    "select month, status, milestones, without_rate_at_date, amount_at_date_reporting, "
    "rounding_at_date_reporting, without_rate_today, amount_today_reporting, "
    "rounding_today_reporting from kantata_marts.billing_totals_reporting"
)


def month_end(day: date | None) -> date | None:
    """The last day of a month."""
    return day and day.replace(day=monthrange(day.year, day.month)[1])


def expected(account: Account, target: str, rates: Rates) -> Iterator[tuple[Any, ...]]:
    """The rows of the mart."""
    today = datetime.fromtimestamp(account.clock.now(), UTC).date()
    for id_, record in account.milestones.items():
        due = record["date_to_invoice"] and date.fromisoformat(record["date_to_invoice"])
        days = (due, month_end(due), today)
        yield (id_, *(v for day in days for v in converted(record, day, target, rates)))


def assert_rows(job: Job, account: Account, target: str, rates: Rates) -> None:
    """Assert the rows of the mart and the totals over all currencies."""
    found = job.rows(ROWS)
    assert sorted(found) == sorted(expected(account, target, rates))
    by_id = {row[0]: row for row in found}
    groups: dict[tuple[Any, ...], list[Any]] = defaultdict(list)
    for id_, day, status, client in job.rows(
        "select id, date_to_invoice, status, client_id from kantata_marts.billing_milestones"
    ):
        groups[day and day.replace(day=1), status, client].append(by_id[id_])
    wanted = []
    for (month, status, _), rows in groups.items():
        parts: list[Any] = []
        for at in (1, 11):
            missing = sum(row[at] is None for row in rows)
            total = None if missing else rounded(sum(row[at + 1] for row in rows), target)
            difference = None if total is None else total - sum(row[at] for row in rows)
            parts += [missing, total, difference]
        wanted.append((month, status, len(rows), *parts))
    assert sorted(map(str, job.rows(TOTALS))) == sorted(map(str, map(_as_stored, wanted)))


def _as_stored(row: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(v.quantize(Decimal("0.000001")) if isinstance(v, Decimal) else v for v in row)


@pytest.fixture
def euro(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The marts convert to EUR."""
    monkeypatch.setenv("WAREHOUSE__REPORTING_CURRENCY", "EUR")
    return monkeypatch


@pytest.mark.long  # the questions of finance convert at them
def test_account_rates(job: Job, euro: pytest.MonkeyPatch) -> None:
    """The account's rates convert each milestone exactly, on the day they are valid."""
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        tie = account.create_milestone(amount_in_cents=-50, date_to_invoice="2026-10-05")
        account.update_milestone(tie, currency="USD")
        account.add_rate("USD", "EUR", "2026-10-05", "0.0100000000")  # -0.005: half a cent
        assert job.sync(sandbox).exit_code == 0
        rates = account_rates(account, "EUR")
        assert_rows(job, account, "EUR", rates)
        (of_tie,) = (row for row in job.rows(ROWS) if row[0] == tie)
        assert of_tie[1:3] == (Decimal("-0.01"), Decimal("-0.005"))
        # A corrected rate counts from the next day on, and the one before is kept.
        id_ = next(i for i, r in account.exchange_rates.items() if r["source_currency"] == "JPY")
        before = Decimal(account.exchange_rates[id_]["rate"])
        account.update_rate(id_, "0.0062000001")
        account.set_exchange(nested_rates=False)
        assert job.sync(sandbox).exit_code == 0
        assert_rows(job, account, "EUR", rates)
        account.advance(86_400)
        assert job.sync(sandbox).exit_code == 0
        assert_rows(job, account, "EUR", account_rates(account, "EUR"))
        kept = "select rate from kantata.exchange_rates where replaced_at is not null"
        assert job.rows(kept) == [(before,)]
        # Without the permission, the last rates stay.
        account.set_exchange(access=False)
        account.advance(86_400)
        assert job.sync(sandbox).exit_code == 0
        assert_rows(job, account, "EUR", account_rates(account, "EUR"))


@pytest.mark.long
def test_rates_that_could_not_be_read_are_read_by_the_next_run(
    job: Job, euro: pytest.MonkeyPatch
) -> None:
    """Rates are read once a day, but a failed read does not count."""
    with Sandbox(milestones=30) as sandbox:
        account = sandbox.account
        job.sync(sandbox)
        account.advance(86_400)
        today = datetime.fromtimestamp(account.clock.now(), UTC).date()
        account.add_rate("USD", "EUR", f"{today}", "0.5")
        sandbox.misbehave(Fault("error", path="foreign_exchange", times=2))
        assert job.sync(sandbox, full=False).exit_code == 0
        assert job.rows(USD)[0][0] != Decimal("0.5")
        for _ in range(2):
            account.advance(3600)
            assert job.sync(sandbox, full=False).exit_code == 0
            assert job.rows(USD) == [(Decimal("0.5"), "kantata")]
            account.add_rate("JPY", "EUR", f"{today}", "0.5")  # is read tomorrow
        assert not job.rows(
            "select 1 from kantata.exchange_rates where rate = 0.5 and source_currency = 'JPY'"
        )


@pytest.mark.long_on("postgres")
def test_rates_that_cannot_be_used_keep_those_read_before(
    job: Job, euro: pytest.MonkeyPatch
) -> None:
    """A refused or contradictory rate is reported, and does not make an older one apply."""
    with Sandbox(milestones=60) as sandbox, altered(sandbox) as between:
        account = sandbox.account
        job.sync(between)
        before = account_rates(account, "EUR")
        last = {
            rate["source_currency"]: (id_, rate["effective_date"])
            for id_, rate in account.exchange_rates.items()
            if rate["target_currency"] == "EUR"
        }
        account.update_rate(last["USD"][0], "0.80000000001")
        account.update_rate(last["JPY"][0], 0.0061)
        account.add_rate("KWD", "EUR", last["KWD"][1], "3")
        account.advance(86_400)
        result = job.sync(between)
        assert (result.exit_code, len(result.needs)) == (3, 3)
        for currency, line in zip(("USD", "JPY", "KWD"), result.needs, strict=True):
            assert f"{currency} to EUR" in line
        assert_rows(job, account, "EUR", before)
        # Some of the rates are not all: they count as not read, so the next run tries again.
        account.update_rate(last["USD"][0], "0.8")

        def shorten(path: str, body: Any) -> Any:  # noqa: ANN401 - any JSON
            if "/exchange_rates" in path:
                body["results"] = body["results"][:-4]
            return body

        between.change = shorten
        account.advance(86_400)
        assert job.sync(between).exit_code == 0
        assert "lacks rows that Kantata counts" in job.notes[-1]
        assert_rows(job, account, "EUR", before)
        between.change = lambda _, body: body
        account.advance(3600)
        assert job.sync(between, full=False).exit_code == 3
        before["USD"][-1] = (before["USD"][-1][0], Decimal("0.8"), "kantata")
        assert_rows(job, account, "EUR", before)


@pytest.mark.long
def test_lost_permission_keeps_rates_of_the_account(job: Job, euro: pytest.MonkeyPatch) -> None:
    """Rates that cannot be read any more apply until the account says that it has none."""
    today = datetime.now(UTC).date()
    Path("rates.csv").write_text(
        "date,source,target,rate\n"
        + "".join(f"{today},{code},EUR,0.5\n" for code in ("USD", "JPY", "KWD"))
    )
    euro.setenv("WAREHOUSE__EXCHANGE_RATES", "rates.csv")
    with Sandbox(milestones=30) as sandbox, altered(sandbox) as between:
        account = sandbox.account
        job.sync(between)
        before = job.rows(USD)
        assert before[0][1] == "kantata"
        account.set_exchange(access=False)
        account.advance(86_400)
        assert job.sync(between).exit_code == 0
        assert job.rows(USD) == before
        assert "cannot be read any more" in job.notes[-1]
        account.set_exchange(access=True)
        between.change = lambda path, body: (
            {"count": 0, "results": [], "exchange_tables": {}} if "tables?" in path else body
        )
        account.advance(86_400)
        job.sync(between)
        assert job.rows(USD) == [(Decimal("0.5"), "rates.csv")]
        assert any("has no rates any more" in note for note in job.notes)


@pytest.mark.long
def test_missing_rates_are_reported_once(job: Job, euro: pytest.MonkeyPatch) -> None:
    """A pair without a rate is null, never the inverse or by way of a third currency."""
    euro.setenv("WAREHOUSE__REPORTING_CURRENCY", "MGA")
    file = Path("rates.csv")
    file.write_text(
        "date,source,target,rate\n2024-01-01,USD,MGA,4500.5\n2020-01-01,MGA,KWD,0.00007\n"
        "2020-01-01,USD,KWD,0.3\n2020-01-01,EUR,MGA,4900\n2020-01-01,EUR,USD,9\n"
    )
    with Sandbox(milestones=60) as sandbox:
        account = sandbox.account
        euro.setenv("WAREHOUSE__EXCHANGE_RATES", str(file))
        result = job.sync(sandbox)
        assert result.exit_code == 3
        (line,) = result.needs
        assert "JPY to MGA of any date (needed from 20" in line
        assert "USD to MGA before 2024-01-01 (needed from 20" in line
        assert "no new exchange rate for three months: EUR to MGA (2020-01-01), USD to MGA" in line
        rates: Rates = {
            "USD": [(date(2024, 1, 1), Decimal("4500.5"), "rates.csv")],
            "EUR": [(date(2020, 1, 1), Decimal(4900), "rates.csv")],
        }
        assert_rows(job, account, "MGA", rates)
        assert job.sync(sandbox).exit_code == 0
        assert job.notes[-1] == line
        with file.open("a") as more:
            more.write("2020-01-01,KWD,MGA,15000.0000000001\n")
        assert job.sync(sandbox, full=False).exit_code == 3
        rates["KWD"] = [(date(2020, 1, 1), Decimal("15000.0000000001"), "rates.csv")]
        assert_rows(job, account, "MGA", rates)
        # The account's rates take precedence, pair by pair; what it gets wrong is not used.
        account.add_rate("EUR", "MGA", "2020-01-01", "5000")
        for wrong in (5000.5, "5,1", "-1", "0", "1.00000000001", None):
            account.add_rate("JPY", "MGA", "2020-01-01", wrong)
        account.advance(86_400)
        result = job.sync(sandbox)
        rates["EUR"] = [(date(2020, 1, 1), Decimal(5000), "kantata")]
        assert_rows(job, account, "MGA", rates)
        *named, more = [line for line in result.needs if "of Kantata" in line]
        assert any("JPY to MGA, 2020-01-01: the rate '5,1'" in line for line in named)
        assert more.startswith("1 more exchange rate of Kantata cannot be used either")
        # A file that is damaged later keeps nobody from tonight's figures.
        file.write_text("date,source,target,rate\n2020-01-01,USD,MGA,0\n")
        new = account.create_milestone(amount_in_cents=700, currency="KWD")
        result = job.sync(sandbox, full=False)
        (line,) = [line for line in result.needs if "rates.csv" in line]
        assert "rates.csv: line 2: the rate is 0. Correct the file. Until then" in line
        assert (result.exit_code, result.run.status) == (3, "proven")
        assert job.rows(f"select 1 from kantata_marts.billing_milestones where id = '{new}'")
        assert_rows(job, account, "MGA", rates)


@pytest.mark.long_on("postgres")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("date,source,target\n", "has no column rate"),
        ("date,source,target,rate\n2026-01-01,USD,EUR,0\n", "line 2: the rate is 0"),
        ("date,source,target,rate\n2026-01-01,USD,EUR,1\n2026-01-01,USD,EUR,2\n", "line 3: line 2"),
        (None, "there is no file"),
    ],
)
def test_refused_files(job: Job, euro: pytest.MonkeyPatch, text: str | None, message: str) -> None:
    """A file of rates that never could be used ends a run with 2 before it reads the account."""
    euro.setenv("WAREHOUSE__EXCHANGE_RATES", "rates.csv")
    if text is not None:
        Path("rates.csv").write_text(text)
    with Sandbox(milestones=5) as sandbox:
        sandbox.misbehave(Fault("error", path="billing_milestones$"))
        with pytest.raises(WarehouseMisconfigured, match=message):
            job.sync(sandbox)


@pytest.mark.long_on("postgres")
def test_unknown_currency_and_overflow(job: Job, euro: pytest.MonkeyPatch) -> None:
    """A currency that the account lacks ends with 2; an amount beyond all decimals with 1."""
    with Sandbox(milestones=30) as sandbox:
        job.synced(sandbox)
        before = job.rows("select count(*) from kantata_marts.billing_milestones_reporting")
        euro.setenv("WAREHOUSE__REPORTING_CURRENCY", "XXX")
        with pytest.raises(WarehouseMisconfigured, match="XXX, which is not among"):
            job.sync(sandbox)
        euro.setenv("WAREHOUSE__REPORTING_CURRENCY", "EUR")
        huge = sandbox.account.create_milestone(amount_in_cents=2**63 - 1)
        sandbox.account.add_rate("USD", "EUR", "2026-10-20", "9999999999")
        sandbox.account.update_milestone(huge, currency="USD")
        sandbox.account.advance(86_400)
        with pytest.raises(WarehouseChecksFailed, match="cannot be converted"):
            job.sync(sandbox)
        assert before == job.rows("select count(*) from kantata_marts.billing_milestones_reporting")


@pytest.mark.long_on("postgres")
def test_a_date_in_the_last_month_of_all(job: Job, euro: pytest.MonkeyPatch) -> None:
    """A milestone that is dated 9999-12-31, as a placeholder, is converted like any other."""
    with Sandbox(milestones=5) as sandbox:
        sandbox.account.create_milestone(date_to_invoice="9999-12-31")
        assert job.sync(sandbox).exit_code == 0
        assert_rows(job, sandbox.account, "EUR", account_rates(sandbox.account, "EUR"))
