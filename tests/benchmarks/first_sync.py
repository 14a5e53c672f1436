"""Time a first sync of 100,000 milestones against the least possible work in the same run."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

from pipelines.config.settings import kantata_settings
from pipelines.config.targets import duckdb_target
from pipelines.runtime.observer import RunObserver
from pipelines.sync.options import SyncOptions
from pipelines.sync.pipeline import sync
from pipelines.sync.session import locked
from tests.benchmarks.account import serving
from tests.benchmarks.floor import floor

MILESTONES = 100_000
ROUNDS = 3


def ours(folder: Path) -> float:
    """Return the seconds that the whole job takes."""
    began = time.perf_counter()
    target = duckdb_target(folder / "loader.duckdb", folder / "milestones.duckdb")
    with locked(target) as warehouse_lock:
        assert sync(kantata_settings(), warehouse_lock, SyncOptions(), RunObserver()).exit_code == 0
    return time.perf_counter() - began


def main() -> None:
    """Print both times and their ratio, the best of some rounds."""
    milestones = int(sys.argv[1]) if len(sys.argv) > 1 else MILESTONES
    floors, jobs = [], []
    with serving(milestones) as (url, token):
        for _ in range(ROUNDS):
            folder = Path(tempfile.mkdtemp(prefix="milestones-bench-"))
            floors.append(floor(url, token, str(folder / "floor.duckdb")))
            jobs.append(ours(folder))
            shutil.rmtree(folder)
    ratios = ", ".join(f"{job / low:.2f}" for job, low in zip(jobs, floors, strict=True))
    print(
        f"first sync of {milestones:,}: floor {min(floors):.1f} s, job {min(jobs):.1f} s, "
        f"ratio {min(jobs) / min(floors):.2f} (rounds: {ratios}); target 1.50"
    )


if __name__ == "__main__":
    main()
