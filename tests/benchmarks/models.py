"""Time the marts of a million milestones with three versions each, on both warehouses.

The queries of ``warehouse/ANALYSTS.md`` are timed too.
"""

from __future__ import annotations

import os
import re
import resource
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date
from pathlib import Path

from pipelines.config.targets import configured_target
from pipelines.sync.session import prepare_tables
from tests.benchmarks.account import ROOT
from tests.support.postgres import server
from warehouse.database import Database, connect
from warehouse.models import build

MILESTONES = 1_000_000
# Row n of a series; each expression gives the same text on both engines.
_CURRENCY = "(case n % 4 when 0 then 'USD' when 1 then 'EUR' when 2 then 'JPY' else 'KWD' end)"
# One in 50 is unscheduled. Of those due before September 2026, one in 20 is overdue.
_DATE = "(case when n % 50 <> 7 then date '2024-01-01' + (n % 1500)::int end)"
_INVOICE = f"""(case when {_DATE} < date '2026-09-01' and n % 20 <> 0
    then (n / 3)::bigint::text end)"""
# One in five slips by 20 days with each version.
_DATE_OF_VERSION = f"({_DATE} - (case when n % 5 = 0 then 3 - v else 0 end)::int * 20)"
_FILL = (
    """insert into kantata.currencies (iso_code, subunit_to_unit, unit_per_subunit) values
    ('USD', 100, 0.01), ('EUR', 100, 0.01), ('JPY', 1, 1), ('KWD', 1000, 0.001)""",
    """insert into kantata.workspaces (id, title, status)
    select n::text, 'Project ' || n::text,
        '{{"color":"green","key":310,"message":"In Progress"}}'
    from {series} where n < {projects}""",
    """insert into kantata.project_details (id, client_id, client, project_lead, stage)
    select n::text, (n % 500)::text, 'Client ' || (n % 500)::text, 'Lead ' || (n % 40)::text,
        'Delivery' from {series} where n < {projects}""",
    """insert into kantata.invoices
        (id, status, draft, invoice_date, due_date, currency, balance_in_cents, observed_at)
    select n::text, case when n % 5 = 0 then 'new' else 'accepted payment' end, n % 50 = 0,
        date '2026-01-01', date '2026-02-01', 'USD', case when n % 5 = 0 then 100 else 0 end,
        timestamptz '2026-02-01' + (n % 200) * interval '1 day'
    from {series} where n < {milestones} / 3 + 1""",
    """insert into kantata.invoice_payments
    select id, observed_at, false, case when status <> 'new' then observed_at end
    from kantata.invoices""",
    """insert into kantata.exchange_rates
    select c.code, 'EUR', date '2020-01-01' + n::int, 0.9 + (n % 100) * 0.0001, 'kantata',
        timestamptz '2026-01-01', null
    from {series} cross join (values ('USD'), ('JPY'), ('KWD')) c (code) where n < 2400""",
    f"""insert into kantata.billing_milestones (id, title, amount_in_cents, currency, billing_type,
        date_to_invoice, workspace_id, invoice_id, created_at, updated_at, observed_at, row_hash)
    select n::text, 'Milestone ' || n::text, n % 9000000, {_CURRENCY}, 'fixed_date', {_DATE},
        (n % {{projects}})::text, {_INVOICE}, timestamptz '2024-01-01', timestamptz '2026-01-01',
        timestamptz '2026-09-01', '1:' from {{series}}""",
    f"""insert into kantata.billing_milestone_versions
        (id, version, change_type, observed_at, row_hash, title, workspace_id, currency,
        amount_in_cents, date_to_invoice, invoice_id, raw)
    select n::text, v, case v when 1 then 'created' else 'updated' end,
        timestamptz '2025-12-01' + v * interval '60 days', '1:', 'Milestone ' || n::text,
        (n % {{projects}})::text, {_CURRENCY}, n % 9000000 + 3 - v, {_DATE_OF_VERSION},
        case when v = 3 then {_INVOICE} end,
        '{{{{"id":"' || n::text || '","title":"Milestone ' || n::text || '","amount_in_cents":'
        || (n % 9000000 + 3 - v)::text || ',"currency":"' || {_CURRENCY} || '",'
        || '"billing_type":"fixed_date","date_to_invoice":'
        || coalesce('"' || {_DATE_OF_VERSION}::text || '"', 'null')
        || ',"workspace_id":"' || (n % {{projects}})::text
        || '","story_id":null,"invoice_id":'
        || coalesce('"' || case when v = 3 then {_INVOICE} end || '"', 'null')
        || ',"created_at":"2024-01-01T00:00:00-08:00","updated_at":"2026-01-01T00:00:00-08:00",'
        || '"invoice_ids":[],"external_reference_ids":[]}}}}'
    from {{series}} cross join (select * from (values (1), (2), (3)) as three (v)) versions""",
)

_QUESTION = r"### (\d[^\n]*)\n[^#]*?```sql\n(.*?);\n```"
# The rows of a run that changed a thousand milestones.
_CHANGE = """
insert into kantata.billing_milestone_versions
    (id, version, change_type, observed_at, row_hash, title, workspace_id, currency,
    amount_in_cents, date_to_invoice, invoice_id, raw)
select id, 4, 'updated', timestamptz '2026-09-14', '1:', title, workspace_id, currency,
    amount_in_cents, date_to_invoice, invoice_id, raw
from kantata.billing_milestone_versions where version = 3 and length(id) <= 3;
insert into kantata.sync_runs (run_id, status, mode, why, started_at, side_rows, added,
    changed, deleted, restored, access_lost)
values ('run 2', 'proven', 'feed', '', timestamptz '2026-09-14', '{}', 0, 1000, 0, 0, 0)
"""


def fill(database: Database, milestones: int) -> None:
    """Insert rows into empty raw tables."""
    numbers = "generate_series" if database.is_postgres else "range"
    last = milestones - 1 if database.is_postgres else milestones
    series = f"(select * from {numbers}(0, {last}) as numbers (n)) series"
    for statement in _FILL:
        database.execute(
            statement.format(series=series, milestones=milestones, projects=milestones // 40 + 1)
        )
    if database.is_postgres:
        database.execute("analyze")


def measure(name: str, milestones: int) -> None:
    """Print the seconds of each refresh and of each query on one warehouse."""
    destination = configured_target(name).destination
    day = build.BuildContext(run_id="run", as_of=date(2026, 9, 15), timezone="Europe/Berlin")
    with connect(destination) as database:
        prepare_tables(database)
        fill(database, milestones)
    for what in ("full", "next", "always", "reporting"):
        if what == "reporting":
            day = replace(day, reporting_currency="EUR")
        began = time.perf_counter()
        with connect(destination) as database:
            if what == "next":
                for statement in _CHANGE.split(";"):
                    database.execute(statement)
            warnings = build.build_marts(database, day, always=what == "always")
        seconds = time.perf_counter() - began
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        target = 35 if name == "postgres" else 15
        print(f"{name}: {what} refresh of {milestones:,} with 3 versions each: {seconds:.1f} s, "
              f"target {target}; {len(warnings)} warnings; peak of this process {peak:.0f} MiB",
              flush=True)  # fmt: skip
    page = (ROOT / "warehouse" / "ANALYSTS.md").read_text()
    target = 2 if name == "postgres" else 1
    with connect(destination) as database:
        for title, sql in re.findall(_QUESTION, page, re.S):
            began = time.perf_counter()
            rows = len(database.rows(sql))
            print(f"{name}: {title}: {rows:,} rows, {time.perf_counter() - began:.2f} s; "
                  f"target {target}", flush=True)  # fmt: skip


def main() -> None:
    """Measure both warehouses."""
    milestones = int(sys.argv[1]) if len(sys.argv) > 1 else MILESTONES
    with tempfile.TemporaryDirectory(prefix="milestones-bench-") as folder:
        os.environ["DESTINATION__DUCKDB__CREDENTIALS"] = str(Path(folder) / "loader.duckdb")
        os.environ["WAREHOUSE__PUBLISH_TO"] = str(Path(folder) / "milestones.duckdb")
        os.chdir(folder)
        measure("duckdb", milestones)
        with server() as url:
            os.environ["DESTINATION__POSTGRES__CREDENTIALS"] = url
            measure("postgres", milestones)


if __name__ == "__main__":
    main()
