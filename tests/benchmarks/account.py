"""A sandbox in its own process, so that it takes none of the job's time or memory."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parents[2]


@contextmanager
def serving(milestones: int, latency_ms: float = 0) -> Iterator[tuple[str, str]]:
    """Run a sandbox; yield its address and token."""
    command = [sys.executable, "-m", "pipelines.cli", "sandbox", "--milestones", str(milestones)]
    process = subprocess.Popen(
        [*command, "--latency", str(latency_ms)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    printed = "".join(process.stdout.readline() for _ in range(4))
    found = dict(re.findall(r"export (\w+)=(\S+)", printed))
    os.environ |= found
    try:
        yield found["KANTATA_API_URL"], found["KANTATA_ACCESS_TOKEN"]
    finally:
        process.terminate()
        process.wait(30)
