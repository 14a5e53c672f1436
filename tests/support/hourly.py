"""One run of the job in its own process, as cron starts it, at a given time."""

from __future__ import annotations

import multiprocessing as mp
import os
import resource
from dataclasses import dataclass
from datetime import datetime
from multiprocessing.connection import Connection

_FORKS = mp.get_context("forkserver")  # each run is a process; imports are paid once
_FORKS.set_forkserver_preload(["pipelines.ops.job", "dlt.destinations.impl.duckdb.duckdb"])


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
    mine, its = _FORKS.Pipe(duplex=False)
    process = _FORKS.Process(target=_run, args=(its, os.getcwd(), destination, now, settings))
    process.start()
    its.close()
    try:
        if mine.poll(killed_after):
            return Hour(*mine.recv())
    except EOFError:
        raise AssertionError(f"the run of {now} ended without a result") from None
    finally:
        process.kill()
        process.join()
        process.close()
        mine.close()
    return Hour(None)


def _run(
    result: Connection, folder: str, destination: str, now: datetime, settings: dict[str, str]
) -> None:
    os.chdir(folder)
    os.environ.update(settings)
    from pipelines.ops.job import run_job
    from pipelines.runtime.observer import RunObserver

    needs: tuple[str, ...] = ()
    happened: tuple[str, ...] = ()
    try:
        ran = run_job(destination, observer=RunObserver(), now=lambda: now)
        code, needs, happened = ran.exit_code, tuple(ran.needs), tuple(ran.happened)
    except Exception as error:
        code, needs = getattr(error, "exit_code", 1), (repr(error),)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    result.send((code, needs, memory, happened))
