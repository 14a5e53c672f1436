"""Time the copy to the lake, and its peak memory, for a warehouse with three versions a milestone.

Run with ``python -m tests.benchmarks.lake [MILESTONES [duckdb|postgres [copy]]]``; with ``copy``
without marts. The rows are made in the warehouse, since an account of this size takes an hour over
HTTP. Each step is a process of its own, so that its peak is its own.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from contextlib import nullcontext
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

from pipelines.config.targets import configured_target
from pipelines.sync.session import prepare_tables
from tests.benchmarks import models
from tests.benchmarks.account import ROOT
from tests.benchmarks.processes import run
from tests.support.postgres import server
from warehouse.database import Database, connect
from warehouse.lake.copy import CopyRequest, LakeCopy
from warehouse.models import build
from warehouse.raw import lake_copies
from warehouse.target import LakeTarget

MILESTONES = 1_000_000
CHANGED = 1_000
_URL = "lake"
_RUNS = """insert into kantata.sync_runs (run_id, status, mode, why, started_at, side_rows, added,
    changed, deleted, restored, access_lost)
    values ('{run}', 'proven', 'scan', '', timestamptz '2026-09-15', '{{}}', 0, 0, 0, 0, 0)"""
_CHANGE = f"""update kantata.billing_milestones set amount_in_cents = amount_in_cents + 1
    where cast(id as bigint) < {CHANGED}"""


def fill(milestones: int) -> None:
    """Make the raw rows."""
    with connect(configured_target().destination) as database:
        prepare_tables(database)
        models.fill(database, milestones)
        database.execute(_RUNS.format(run="20260915T000001Z"))


def marts() -> None:
    """Build the marts."""
    day = build.BuildContext(
        run_id="20260915T000001Z", as_of=date(2026, 9, 15), timezone="Europe/Berlin"
    )
    with connect(configured_target().destination) as database:
        build.build_marts(database, day)


def change() -> None:
    """Change a thousand milestones, as the next run."""
    with connect(configured_target().destination) as database:
        database.execute(_CHANGE)
        database.execute(_RUNS.format(run="20260915T000002Z"))


def copy(run_id: str) -> None:
    """Copy the warehouse to the lake."""
    with connect(configured_target().destination) as database:
        if not database.is_postgres:
            database.execute("reset threads")  # as a sync does
        _copy(database, run_id)


def _copy(database: Database, run_id: str) -> None:
    request = CopyRequest(
        lake=LakeTarget(url=_URL, keep=timedelta(days=2)),
        run_id=run_id,
        account="a benchmark",
        now=lambda: datetime.now(UTC),
        check=lambda: None,
    )
    done = LakeCopy(database, request, lake_copies.read_state(database, _URL))
    done.run()
    lake_copies.write_state(database, done.state)


def main() -> None:
    """Print what each step took."""
    milestones = int(sys.argv[1]) if len(sys.argv) > 1 else MILESTONES
    kind = sys.argv[2] if len(sys.argv) > 2 else "duckdb"
    steps = [
        ("marts", "marts()"),
        ("first copy", "copy('20260915T000001Z')"),
        ("copy, nothing changed", "copy('20260915T000001Z')"),
        (f"change {CHANGED:,}", "change()"),
        ("copy", "copy('20260915T000002Z')"),
    ]
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["WAREHOUSE__DESTINATION"] = kind
    postgres = server() if kind == "postgres" else nullcontext("")
    with postgres as url, tempfile.TemporaryDirectory(prefix="milestones-bench-") as name:
        os.environ["DESTINATION__POSTGRES__CREDENTIALS"] = url
        (Path(name) / ".milestones").mkdir()
        _run(f"fill({milestones})", Path(name))
        for what, call in steps[1:] if "copy" in sys.argv[3:] else steps:
            usage = _run(call, Path(name))
            print(f"{kind}, {milestones:,} with 3 versions each: {what}: {usage}", flush=True)
        size = subprocess.run(["du", "-sm", _URL], cwd=name, capture_output=True, text=True)
        print(f"the lake has {size.stdout.split()[0]} MB")


def _run(call: str, folder: Path) -> str:
    words = [sys.executable, "-c", f"from tests.benchmarks.lake import *; {call}"]
    usage = run(words, folder=folder)
    return (
        f"{usage.seconds:.1f} s, {usage.cpu_seconds:.1f} CPU-seconds, "
        f"peak {usage.peak / 2**20:,.0f} MiB"
    )


if __name__ == "__main__":
    main()
