"""Time the report of 100,000 milestones: the whole command, and next to it Python's start alone."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from pipelines.config.settings import kantata_settings
from pipelines.config.targets import configured_target
from pipelines.runtime.observer import RunObserver
from pipelines.sync.options import SyncOptions
from pipelines.sync.pipeline import sync
from pipelines.sync.session import locked
from tests.benchmarks.account import ROOT, serving

MILESTONES = 100_000
RUNS = 5


def seconds(*words: str) -> float:
    """Return the median of the seconds that a Python process takes."""
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    taken = []
    for _ in range(RUNS):
        began = time.perf_counter()
        subprocess.run([sys.executable, *words], env=environment, check=True, capture_output=True)
        taken.append(time.perf_counter() - began)
    return statistics.median(taken)


def main() -> None:
    """Sync an account, then write its report several times."""
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        with serving(MILESTONES), locked(configured_target("duckdb")) as lock:
            sync(kantata_settings(), lock, SyncOptions(), RunObserver())
        first = seconds("-m", "pipelines.cli", "report", "report.html")
        start = seconds("-c", "import pipelines.cli.report")
        size = Path("report.html").stat().st_size
        print(f"report of {MILESTONES:,} milestones: {first:.2f} s, {size / 1000:,.0f} kB")
        print(f"imports alone: {start:.2f} s, so {first / start:.2f} times that")


if __name__ == "__main__":
    main()
