"""Measure the peak memory of a first sync of a million milestones, and of an unchanged second."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.benchmarks.account import ROOT, serving

MILESTONES = 1_000_000


def main() -> None:
    """Print the seconds and the peak memory of both syncs."""
    milestones = int(sys.argv[1]) if len(sys.argv) > 1 else MILESTONES
    with serving(milestones), tempfile.TemporaryDirectory(prefix="milestones-bench-") as folder:
        os.environ["PYTHONPATH"] = str(ROOT)
        os.environ["DESTINATION__DUCKDB__CREDENTIALS"] = str(Path(folder) / "loader.duckdb")
        os.environ["WAREHOUSE__PUBLISH_TO"] = str(Path(folder) / "milestones.duckdb")
        for name, arguments in (("first", []), ("unchanged", ["--full"])):
            began = time.perf_counter()
            peak = _peak_of([sys.executable, "-m", "pipelines.cli", "sync", *arguments])
            print(
                f"{name} sync of {milestones:,}: {time.perf_counter() - began:.0f} s, "
                f"peak {peak / 2**20:.0f} MiB; target 900",
                flush=True,
            )


def _peak_of(command: list[str]) -> int:
    """Run a command; return its peak resident memory in bytes."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, process.returncode
    return usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)


if __name__ == "__main__":
    main()
