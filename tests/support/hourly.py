"""One run of the job in its own process, as cron starts it, at a given time."""

from __future__ import annotations

import json
import os
import resource
import subprocess
from dataclasses import asdict, dataclass
from datetime import datetime
from tempfile import TemporaryFile

from pipelines.ops.job import run_job
from pipelines.runtime.observer import RunObserver
from tests.support.processes import start_function


@dataclass(frozen=True)
class Hour:
    """How a run ended.

    Args:
        exit_code: None if it was killed.
        needs: What requires action.
        memory: Its peak, in MiB.
        happened: Those of the needs that are events, not states.
    """

    exit_code: int | None
    needs: tuple[str, ...] = ()
    memory: float = 0.0
    happened: tuple[str, ...] = ()


def hour(
    destination: str, now: datetime, settings: dict[str, str], killed_after: float | None
) -> Hour:
    """Run the job.

    Args:
        destination: ``duckdb`` or ``postgres``.
        now: The time of this machine.
        settings: The environment.
        killed_after: Seconds after which it is killed; None never kills it.
    """
    with TemporaryFile() as result:
        process = start_function(
            "tests.support.hourly:run_once", destination, now.isoformat(),
            env=os.environ | settings, stdout=result, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        with process:
            try:
                process.wait(killed_after)
            except subprocess.TimeoutExpired:
                return Hour(None)
        assert process.returncode == 0, f"the run of {now} ended without a result"
        result.seek(0)
        ended = json.loads(result.read())
    needs, happened = tuple(ended.pop("needs")), tuple(ended.pop("happened"))
    return Hour(needs=needs, happened=happened, **ended)


def run_once(destination: str, now: str) -> None:
    """Run the job, and print how it ended; runs in a child process."""
    moment = datetime.fromisoformat(now)
    needs: tuple[str, ...] = ()
    happened: tuple[str, ...] = ()
    try:
        ran = run_job(destination, observer=RunObserver(), now=lambda: moment)
        code, needs, happened = ran.exit_code, tuple(ran.needs), tuple(ran.happened)
    except Exception as error:
        code, needs = getattr(error, "exit_code", 1), (repr(error),)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    os.write(1, json.dumps(asdict(Hour(code, needs, memory, happened))).encode())
