"""Counts the work that our code does, as Python's profiler sees it: nothing is replaced.

The profiler counts calls of each function. DuckDB's driver and the starting of processes are
functions in C, so their calls are counted where they happen, whichever library makes them.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from cProfile import Profile
from dataclasses import dataclass

from sources.kantata_sandbox import Sandbox
from tests.support.job import Job
from tests.support.kill_points import code_of

_SQL = {f"<built-in method _duckdb.{name}>" for name in ("execute", "executemany", "sql", "query")}
_PROCESSES = {
    "<built-in method _posixsubprocess.fork_exec>",
    "<built-in method posix.fork>",
    "<built-in method posix.posix_spawn>",
}
# Makes each Arrow table that is loaded.
ARROW = "sources.kantata.resources:with_required_keys"


@dataclass(frozen=True, kw_only=True)
class Work:
    """The work done in some seconds, or the most that may be done.

    Args:
        requests: HTTP requests that the account received.
        sql: Calls of DuckDB's driver that execute SQL.
        arrow_tables: Arrow tables given to dlt.
        rows: Rows written to raw tables.
        processes: Processes started.
    """

    requests: int
    sql: int
    arrow_tables: int
    rows: int
    processes: int = 0


class WorkCounter:
    """The work that a block has done; complete when the block ends."""

    work: Work


@contextmanager
def work_done(job: Job, sandbox: Sandbox) -> Iterator[WorkCounter]:
    """Count the work that the block does, in this thread and all that it starts."""
    counter, profiles = WorkCounter(), [Profile()]
    requests, loads = len(sandbox.requests), _rows_of_loads(job)

    def begin(*_: object) -> None:
        """Profile the thread in which this is called, when its first function is."""
        profile = Profile()
        with suppress(ValueError):  # from Python 3.12 on, the first profile counts all threads
            profile.enable()
            profiles.append(profile)

    threading.setprofile(begin)
    profiles[0].enable()
    try:
        yield counter
    finally:
        profiles[0].disable()
        threading.setprofile(None)  # type: ignore[arg-type] # as sys.setprofile, it takes None
    calls: Counter[object] = Counter()
    for profile in profiles:
        for entry in profile.getstats():
            calls[entry.code] += entry.callcount
    counter.work = Work(
        requests=len(sandbox.requests) - requests,
        sql=sum(calls[name] for name in _SQL),
        arrow_tables=calls[code_of(ARROW)],
        rows=sum((_rows_of_loads(job) - loads).values()),
        processes=sum(calls[name] for name in _PROCESSES),
    )


def _rows_of_loads(job: Job) -> Counter[str]:
    """Return how many rows the raw tables have of each load."""
    if not job.target.loader or not job.target.loader.exists():
        return Counter()
    named = "select table_name from information_schema.columns where table_schema = 'kantata' "
    tables = [row[0] for row in job.rows(named + "and column_name = '_dlt_load_id'")]
    each = " union all ".join(f"select _dlt_load_id from kantata.{table}" for table in tables)
    if not each:
        return Counter()
    return Counter(dict(job.rows(f"select _dlt_load_id, count(*) from ({each}) group by 1")))
