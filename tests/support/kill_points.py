"""Runs that die at a chosen point: at the nth call of a function, as if the power had been cut.

A point names a function as ``module:qualname``. A point whose function does not exist fails, and so
does a scenario that does not reach all of its points.
"""

from __future__ import annotations

import inspect
import os
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import CodeType, FrameType

from pipelines.config.settings import kantata_settings
from pipelines.config.targets import configured_target
from pipelines.ops.migrate import migrate
from pipelines.runtime.clock import utc_now
from pipelines.runtime.observer import RunObserver
from pipelines.sync.options import SyncOptions
from pipelines.sync.pipeline import sync
from pipelines.sync.session import locked
from sources.kantata_sandbox import Sandbox
from tests.support.fork_server import found
from tests.support.job import Job
from tests.support.processes import start_function

DIED = 99


@dataclass(frozen=True)
class Point:
    """Where a process dies.

    Args:
        function: As ``module:qualname``.
        call: The number of the call; each resumption of a generator counts as one.
    """

    function: str
    call: int = 1

    def __str__(self) -> str:
        return f"{self.function}#{self.call}"


# Points that every run reaches, in this order.
EVERY_RUN = [
    Point("warehouse.raw.schema:prepare_raw_tables"),
    Point("warehouse.raw.runs:insert_run"),
    Point("sources.kantata.extract.strategies:read_account"),
    Point("sources.kantata.transform.milestone_diff:MilestoneDiff.flush"),
    Point("dlt.extract.extractors:ArrowExtractor._write_item"),
    Point("dlt.extract.extractors:ArrowExtractor._write_item", 4),
    Point("sources.kantata.extract.tables:ExtractTables.finish"),
    Point("dlt.extract.extract:Extract.commit_packages"),
    Point("warehouse.raw.runs:update_run"),
    Point("dlt.normalize.normalize:Normalize.map_single"),
    Point("dlt.normalize.normalize:Normalize.spool_files"),
    Point("dlt.load.load:Load.load_single_package"),
    Point("dlt.load.load:Load.complete_jobs"),
    Point("dlt.load.load:Load.complete_jobs", 3),
    Point("dlt.load.load:Load.complete_jobs", 5),
    Point("dlt.load.load:Load.create_followup_jobs"),
    Point("dlt.load.load:Load.create_followup_jobs", 2),
    Point("dlt.load.load:Load.create_followup_jobs", 4),
    Point("dlt.destinations.job_client_impl:SqlLoadJob.run"),
    Point("dlt.destinations.job_client_impl:SqlLoadJob.run", 2),
    Point("dlt.load.load:Load.complete_package"),
    Point("dlt.destinations.job_client_impl:SqlJobClientBase.complete_load"),
    Point("warehouse.raw.proof:compare_totals"),
    Point("warehouse.models.build:build_marts"),
    Point("warehouse.models.build:run_checks"),
    Point("warehouse.raw.runs:update_run", 2),
]
FIRST_RUN = [
    Point("warehouse.database:Database.ensure_schema", 2),
    Point("dlt.destinations.job_client_impl:SqlJobClientBase._commit_schema_update", 2),
    Point("dlt.destinations.insert_job_client:InsertValuesLoadJob.run"),
    Point("warehouse.models.ddl:define_staging"),
    Point("warehouse.models.ddl:define_mart"),
    Point("warehouse.models.ddl:define_mart", 5),
]
SCAN = [
    Point("dlt.destinations.job_client_impl:SqlLoadJob.run", 3),  # a first run merges less
    Point("sources.kantata.extract.scan:Scan._read_page", 2),
    Point("sources.kantata.extract.strategies:FullScan.chunks", 2),
    Point("sources.kantata.extract.deletions:judge_missing"),
    Point("sources.kantata.transform.milestone_diff:MilestoneDiff.mark_deleted"),
    Point("warehouse.models.refresh:refresh_mart", 4),
]
INCREMENTAL_RUN = [
    Point("dlt.destinations.job_client_impl:SqlLoadJob.run", 3),  # a first run merges less
    Point("sources.kantata.extract.feed:FeedReader.changes"),
    Point("sources.kantata.extract.strategies:EventFeed.chunks", 2),
    Point("sources.kantata.extract.deletions:judge_missing"),
    Point("sources.kantata.transform.milestone_diff:MilestoneDiff.mark_deleted"),
    Point("warehouse.models.refresh:refresh_mart", 4),
]
WAREHOUSES = {
    "duckdb": [
        Point("dlt.destinations.impl.duckdb.duck:DuckDbCopyJob.run"),
        Point("dlt.destinations.impl.duckdb.duck:DuckDbCopyJob.run", 3),
        Point("warehouse.publish:publish"),
        Point("warehouse.publish:_check_free_space"),
        Point("warehouse.publish:_copy"),
    ],
    "postgres": [
        Point("dlt.destinations._adbc_jobs:AdbcParquetCopyJob.run"),
        Point("dlt.destinations._adbc_jobs:AdbcParquetCopyJob.run", 3),
        Point("pipelines.sync.session:ensure_locked", 2),
    ],
}
SCENARIOS = {"first runs": FIRST_RUN, "scans": SCAN, "incremental runs": INCREMENTAL_RUN}


def points(warehouse: str, scenario: str) -> list[Point]:
    """All points that a scenario must reach in a warehouse."""
    return EVERY_RUN + SCENARIOS[scenario] + WAREHOUSES[warehouse]


def every_point() -> Iterator[Point]:
    """The points of all scenarios and warehouses."""
    for some in (EVERY_RUN, *SCENARIOS.values(), *WAREHOUSES.values()):
        yield from some


def code_of(function: str) -> CodeType:
    """The code of a function, or of the function that a decorator wraps.

    Raises:
        LookupError: If there is no such function.
    """
    try:
        code = inspect.unwrap(found(function)).__code__
    except (ImportError, AttributeError) as error:
        raise LookupError(f"{function} is no function: {error}") from error
    assert isinstance(code, CodeType)
    return code


def die_at(function: str, call: int = 1) -> None:
    """End this process at a call of a function, as if the power had been cut."""
    code, left = code_of(function), call

    def trace(frame: FrameType, event: str, _arg: object) -> None:
        nonlocal left
        if frame.f_code is code and event == "call":
            left -= 1
            if left == 0:
                os._exit(DIED)

    threading.settrace(trace)
    sys.settrace(trace)


def move_until(function: str) -> None:
    """Move DuckDB to Postgres until a function is called, then die; runs in a child process."""
    die_at(function)
    migrate(
        configured_target("duckdb", moved_too=True), configured_target("postgres"), print, utc_now
    )


def sync_until(warehouse: str, function: str, call: int, full: bool) -> None:
    """Sync until the point is reached, then die; runs in a child process."""
    die_at(function, call)
    with locked(configured_target(warehouse)) as lock:
        sync(kantata_settings(), lock, SyncOptions(full=full), RunObserver())


def died(job: Job, sandbox: Sandbox, point: Point, full: bool = True) -> bool:
    """Run the job in a process that dies at this point; return whether it reached the point."""
    environment = os.environ | {
        "KANTATA_API_URL": sandbox.url,
        "KANTATA_ACCESS_TOKEN": sandbox.token,
    }
    arguments = (job.name, point.function, point.call, full)
    with start_function(
        "tests.support.kill_points:sync_until", *arguments, env=environment
    ) as process:
        _, err = process.communicate()
    assert process.returncode in (0, DIED), err[-2_000:]
    return process.returncode == DIED
