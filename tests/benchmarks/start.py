"""Time what one waits for each day: start-up, and a run that finds no change.

Run with ``python -m tests.benchmarks.start [MILESTONES [ROUNDS]]``.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from pathlib import Path

from tests.benchmarks.account import ROOT, serving
from tests.benchmarks.processes import Usage, run, spread

MILESTONES, ROUNDS = 10_000, 11


def main() -> None:
    """Print the seconds of each command, and what it takes in addition to ``import dlt``."""
    given = [int(word) for word in sys.argv[1:]]
    milestones, rounds = (*given, *(MILESTONES, ROUNDS)[len(given) :])
    ours = [sys.executable, "-m", "pipelines.cli"]
    commands = {
        "import dlt": [sys.executable, "-c", "import dlt"],
        "--version": [*ours, "--version"],
        "--help": [*ours, "--help"],
        "sync, nothing changed": [*ours, "sync"],
        "status": [*ours, "status"],
    }
    os.environ["PYTHONPATH"] = str(ROOT)
    usages: dict[str, list[Usage]] = {name: [] for name in commands}
    with serving(milestones), tempfile.TemporaryDirectory(prefix="milestones-bench-") as folder:
        run([*ours, "sync"], folder=Path(folder))
        for _ in range(rounds):
            for name, command in commands.items():
                usages[name].append(run(command, folder=Path(folder)))
    floor = statistics.median(usage.seconds for usage in usages["import dlt"])
    for name, runs in usages.items():
        seconds = [usage.seconds for usage in runs]
        print(
            f"{name}: {spread(seconds, 2)} s, {spread([u.cpu_seconds for u in runs], 2)} "
            f"CPU-seconds; {statistics.median(seconds) - floor:+.2f} s to import dlt"
        )
    print("targets: --version and --help 0.30 s, sync +0.50 s")


if __name__ == "__main__":
    main()
