"""A run that dies at a chosen point."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from sources.kantata_sandbox import Sandbox
from tests.support.job import Job

ROOT = Path(__file__).parents[2]
# Functions at whose nth call the process dies, as if its power had been cut.
POINTS = [
    ("sources/kantata/read.py", "batches", 1),
    ("sources/kantata/compare.py", "flush", 1),
    ("sources/kantata/account.py", "_end", 1),
    ("sources/kantata/compare.py", "gone", 1),
    ("dlt/extract/extract.py", "_write_item", 1),
    ("dlt/normalize/normalize.py", "run_normalize", 1),
    ("dlt/normalize/normalize.py", "spool_files", 1),
    ("dlt/load/load.py", "load_single_package", 1),
    ("dlt/load/load.py", "complete_jobs", 1),
    ("dlt/load/load.py", "complete_jobs", 3),
    ("dlt/load/load.py", "complete_jobs", 5),
    ("dlt/load/load.py", "create_followup_jobs", 1),
    ("dlt/load/load.py", "create_followup_jobs", 2),
    ("dlt/load/load.py", "create_followup_jobs", 4),
    ("dlt/load/load.py", "complete_package", 1),
    ("dlt/destinations/job_client_impl.py", "run", 1),
    ("dlt/destinations/job_client_impl.py", "run", 2),
    ("dlt/destinations/job_client_impl.py", "run", 3),
    ("dlt/destinations/job_client_impl.py", "complete_load", 1),
    ("warehouse/tables.py", "prepare", 1),
    ("warehouse/runs.py", "begin", 1),
    ("warehouse/proof.py", "differences", 1),
    ("warehouse/runs.py", "end", 1),
    ("warehouse/publish.py", "publish", 1),
    ("warehouse/publish.py", "_make_room", 1),
]
_DIE = """
import os, sys, threading
file, function, left = {point!r}
def trace(frame, event, arg):
    global left
    code = frame.f_code
    if event == "call" and code.co_name == function and code.co_filename.endswith(file):
        left -= 1
        if left == 0:
            os._exit(99)
import pipelines
from pipelines.hold import holding
from pipelines.place import place
from pipelines.settings import kantata_settings
from pipelines.sync import Asked, Watcher, sync
threading.settrace(trace)
sys.settrace(trace)
with holding(place({name!r})) as hold:
    sync(kantata_settings(), hold, Asked(full={full}), Watcher())
"""


def died(job: Job, sandbox: Sandbox, point: tuple[str, str, int], full: bool = True) -> bool:
    """Run the job in a process that dies at this point; whether it got there."""
    environment = os.environ | {
        "KANTATA_API_URL": sandbox.url,
        "KANTATA_ACCESS_TOKEN": sandbox.token,
        "PYTHONPATH": str(ROOT),
    }
    code = _DIE.format(point=point, name=job.name, full=full)
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, check=False, timeout=60
    )
    assert result.returncode in (0, 99), result.stderr.decode()[-2000:]
    return result.returncode == 99
