"""Measure the life of a large account: seconds and peak memory of each run, as processes.

Run with ``python -m tests.benchmarks.large [MILESTONES [duckdb|postgres]]``: the floor, a first
sync, 1,000 edits that the event feed brings, and a full scan that finds no change.
"""

from __future__ import annotations

import os
import sys
import tempfile
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.account import ROOT, serving
from tests.benchmarks.incremental import change
from tests.benchmarks.processes import Usage, run
from tests.support.postgres import empty_database, server

MILESTONES = 1_000_000
CHANGES = 1_000
SYNC = [sys.executable, "-m", "pipelines.cli", "sync"]


def _show(name: str, usage: Usage, floor: Usage) -> None:
    """Print what a run used, and its ratio to the floor."""
    print(
        f"{name}: {usage.seconds:.1f} s ({usage.seconds / floor.seconds:.2f} times the floor), "
        f"{usage.cpu_seconds:.1f} CPU-seconds, {usage.peak / 2**20:.0f} MiB",
        flush=True,
    )


def main() -> None:
    """Print the seconds and the peak memory of each run."""
    milestones = int(sys.argv[1]) if len(sys.argv) > 1 else MILESTONES
    kind = sys.argv[2] if len(sys.argv) > 2 else "duckdb"
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    print(f"{milestones:,} milestones, {kind}")
    with ExitStack() as stack:
        url, token = stack.enter_context(serving(milestones))
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="milestones-bench-")))
        warehouse = "floor.duckdb"
        if kind == "postgres":
            postgres = stack.enter_context(server())
            warehouse = stack.enter_context(empty_database(postgres))
            os.environ["WAREHOUSE__DESTINATION"] = "postgres"
            own = stack.enter_context(empty_database(postgres))
            os.environ["DESTINATION__POSTGRES__CREDENTIALS"] = own
        program = [sys.executable, "-m", "tests.benchmarks.floor", url, token, warehouse]
        floor = run(program, folder=folder)
        _show("floor", floor, floor)
        _show("first sync", run(SYNC, folder=folder), floor)
        change(url, token, CHANGES)
        _show(f"{CHANGES:,} changes", run(SYNC, folder=folder), floor)
        _show("unchanged scan", run([*SYNC, "--full"], folder=folder), floor)


if __name__ == "__main__":
    main()
