"""The backlog bridge against a model of it in plain Python, for any history."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import hypothesis.strategies as st
from hypothesis import HealthCheck, Phase, given, settings

from pipelines.sync.session import prepare_tables
from tests.support.histories import Step, Version, bridge, rows_of, step
from tests.support.job import Job
from warehouse.database import connect
from warehouse.models import build

EXAMPLES = int(os.environ.get("MILESTONES_BRIDGES", "6"))
UNITS = {"USD": Decimal("0.01"), "JPY": Decimal(1), "KWD": Decimal("0.001")}
UNKNOWN = "XTS"  # reserved for tests, so no account has it
ZONES = ("UTC", "Pacific/Auckland", "America/Los_Angeles")
TODAY = date(2026, 11, 20)
FIRST_SCAN = datetime(2025, 3, 10, tzinfo=UTC)
MONTHS = [(2025, month) for month in (1, 2, 3, 4, 10, 11)] + [(2026, 1), (2026, 2)]
# Just before, at, and two weeks after the start of each month in each zone.
MOMENTS = [
    datetime(year, month, 1, tzinfo=ZoneInfo(zone)).astimezone(UTC) + timedelta(seconds=seconds)
    for year, month in MONTHS
    for zone in ZONES
    for seconds in (-1, 0, 14 * 86_400)
]


@dataclass(frozen=True)
class Observed:
    """A version in the raw table, whose record may lack fields."""

    at: datetime
    kind: str
    record: dict[str, Any]


def life(draw: st.DrawFn) -> list[Observed]:
    """One milestone's versions, as a connector could have observed them."""
    count = draw(st.integers(1, 6))
    times = draw(st.lists(st.sampled_from(MOMENTS), min_size=count, max_size=count))
    if draw(st.booleans()):  # unsorted times: the machine's clock was set back
        times.sort()
    found: list[Observed] = []
    for number, at in enumerate(times):
        deletes = number > 0 and found[-1].kind != "deleted" and draw(st.integers(0, 2)) == 0
        if deletes:
            found.append(Observed(at, "deleted", found[-1].record))
            continue
        kind = "created" if number == 0 else "updated"
        kind = "restored" if number and found[-1].kind == "deleted" else kind
        found.append(Observed(at, kind, draw(records(found[-1].record if found else None))))
    return found


@st.composite
def records(draw: st.DrawFn, before: dict[str, Any] | None) -> dict[str, Any]:
    """A record, sometimes with its previous amount, or without a date, an invoice or a field."""
    record = {
        "amount_in_cents": draw(st.integers(-(2**40), 2**40)),
        "currency": draw(st.sampled_from([*UNITS, *UNITS, *UNITS, UNKNOWN])),
        "workspace_id": "1",
        "date_to_invoice": draw(st.sampled_from([None, "2026-01-15"])),
        "invoice_id": draw(st.sampled_from([None, None, "9", "10"])),
    }
    if before and draw(st.booleans()):
        record |= {name: before[name] for name in ("amount_in_cents", "currency")}
    absent = draw(st.sampled_from([(), (), (), ("date_to_invoice",), ("invoice_id",)]))
    return {name: value for name, value in record.items() if name not in absent}


histories = st.lists(st.composite(life)(), min_size=1, max_size=8)


def steps_of(life: Sequence[Observed], zone: str) -> list[Step]:
    """The steps of a history: an absent field keeps its last value, time never goes back."""
    steps: list[Step] = []
    values: dict[str, Any] = {"date_to_invoice": None, "invoice_id": None}
    latest = life[0].at
    stock = life[0].at <= FIRST_SCAN
    for version in life:
        values = values | version.record
        latest = max(latest, version.at)
        at = latest.astimezone(ZoneInfo(zone))
        steps.append(step(Version(version.kind, values), at, stock))
    return steps


def load(job: Job, history: Sequence[Sequence[Observed]]) -> None:
    """Put these versions, and the milestones that result from them, into the raw tables."""
    versions, milestones = [], []
    for number, life in enumerate(history):
        values: dict[str, Any] = {"date_to_invoice": None, "invoice_id": None}
        for count, version in enumerate(life, start=1):
            values = values | version.record
            raw = json.dumps(version.record)
            versions.append(
                f"('{number}', {count}, '{version.kind}', timestamptz '{version.at}', '{raw}')"
            )
        deleted = life[-1].kind == "deleted"
        deleted_at = f"timestamptz '{life[-1].at}'" if deleted else "null::timestamptz"
        due = "date '2026-01-15'" if values["date_to_invoice"] else "null::date"
        invoice = f"'{values['invoice_id']}'" if values["invoice_id"] else "null"
        milestones.append(
            f"('{number}', {values['amount_in_cents']}, '{values['currency']}', '1', "
            f"{due}, {invoice}, {deleted_at})"
        )
    job.run(
        "delete from kantata.billing_milestone_versions; delete from kantata.billing_milestones;"
        "insert into kantata.billing_milestone_versions "
        f"(id, version, change_type, observed_at, raw) values {', '.join(versions)};"
        "insert into kantata.billing_milestones (id, amount_in_cents, currency, workspace_id, "
        f"date_to_invoice, invoice_id, deleted_at) values {', '.join(milestones)}"
    )


def begin(job: Job) -> None:
    """Prepare a warehouse with a project, two invoices, three currencies and a first scan."""
    job.target.folder.mkdir(exist_ok=True)
    with connect(job.target.destination) as database:
        prepare_tables(database)
    units = ", ".join(f"('{code}', {unit})" for code, unit in UNITS.items())
    job.run(
        "insert into kantata.workspaces (id, title) values ('1', 'one');"
        "insert into kantata.invoices (id, status, draft) values ('9', 'new', false), "
        "('10', 'new', false);"
        f"insert into kantata.currencies (iso_code, unit_per_subunit) values {units};"
        "insert into kantata.sync_runs (run_id, status, mode, why, started_at, finished_at, "
        "side_rows, added, changed, deleted, restored, access_lost) values ('run', 'proven', "
        f"'scan', '', timestamptz '{FIRST_SCAN}', timestamptz '{FIRST_SCAN}', "
        "'{}', 0, 0, 0, 0, 0)"
    )


FIGURES = (
    "select month, currency, opening, new, increased, decreased, invoiced, deleted, closing "
    "from kantata_marts.backlog_bridge order by currency, month"
)


def in_money(month: date, currency: str, *subunits: int) -> tuple[Any, ...]:
    """A row of the bridge in money; amounts in an unknown currency are null."""
    unit = UNITS.get(currency)
    return (month, currency, *(None if unit is None else value * unit for value in subunits))


def test_bridge_closes_for_any_history(job: Job) -> None:
    """Opening plus movements equals closing, as in the plain model, for any history.

    Histories include records without a field, any zone, the edges of months, clocks that are set
    back, unknown currencies, and milestones that are raised and invoiced at once.
    """
    begin(job)

    @settings(
        max_examples=EXAMPLES if job.name == "duckdb" else EXAMPLES // 3,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],  # shrinking a failure would take minutes
        suppress_health_check=list(HealthCheck),
    )
    @given(history=histories, zone=st.sampled_from(ZONES))
    def closes(history: list[list[Observed]], zone: str) -> None:
        load(job, history)
        with connect(job.target.destination) as database:
            warnings = build.build_marts(
                database, build.BuildContext(run_id="run", as_of=TODAY, timezone=zone), always=True
            )
        steps_by_milestone = [steps_of(life, zone) for life in history]
        used = {version.currency for steps in steps_by_milestone for version in steps}
        assert all("known_currencies" in warning for warning in warnings)
        assert bool(warnings) == (UNKNOWN in used)
        rows = job.rows(FIGURES)
        assert rows == [in_money(*row) for row in rows_of(bridge(steps_by_milestone), TODAY)]
        closings = {row[1]: row[-1] for row in rows}
        ends = Counter[str]()
        for steps in steps_by_milestone:
            ends[steps[-1].currency] += 0 if steps[-1].kind == "deleted" else steps[-1].open
        assert closings.keys() == used
        for currency, unit in UNITS.items():
            assert closings.get(currency, 0) == ends[currency] * unit

    closes()
