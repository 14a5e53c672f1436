"""Time the marts of a million milestones with three versions each on Sail, from a lake.

``.venv-lake/bin/python -m tests.benchmarks.spark MILESTONES [WORKERS ...]``: Sail with one worker,
then with two, unless other numbers are given. All figures are compared with DuckDB's, in a process
of its own. A local cluster is one process, so its peak is that of all its workers.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import resource
import sys
import tempfile
import time
from datetime import date
from pathlib import Path

from pipelines.config.targets import configured_target
from pipelines.ops.lake_job import build_marts
from pipelines.sync.session import prepare_tables
from tests.benchmarks.models import MILESTONES, fill
from tests.support.lake_tables import open_warehouse, write_lake
from tests.support.spark_servers import Server, sail, session
from warehouse.database import connect
from warehouse.models import build

_SLOTS = 16  # of a worker
_TODAY = build.BuildContext(
    run_id="run", as_of=date(2026, 9, 15), timezone="Europe/Berlin", reporting_currency="EUR"
)


def main() -> None:
    """Measure DuckDB, then Sail with each number of workers."""
    milestones = int(sys.argv[1]) if len(sys.argv) > 1 else MILESTONES
    workers = [int(word) for word in sys.argv[2:]] or [1, 2]
    with tempfile.TemporaryDirectory(prefix="milestones-bench-") as folder:
        os.environ["DESTINATION__DUCKDB__CREDENTIALS"] = str(Path(folder) / "loader.duckdb")
        os.environ["WAREHOUSE__PUBLISH_TO"] = str(Path(folder) / "milestones.duckdb")
        os.chdir(folder)
        with connect(configured_target("duckdb").destination) as database:
            prepare_tables(database)
            fill(database, milestones)
        # The engines are measured in processes that did not fill the tables.
        processes = multiprocessing.get_context("spawn")
        with processes.Pool(1) as pool:
            reference = pool.apply(_on_duckdb, (milestones,))
        with processes.Pool(1) as pool:
            pool.apply(_write_lake)
        for count in workers:
            with sail(Path(folder) / f"sail {count}", workers=count, slots=_SLOTS) as server:
                _on_sail(server, count, milestones, reference)


def _on_duckdb(milestones: int) -> float:
    """Build the marts on DuckDB; return the seconds."""
    began = time.perf_counter()
    with connect(configured_target("duckdb").destination) as database:
        build.build_marts(database, _TODAY)
    seconds = time.perf_counter() - began
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"DuckDB: marts of {milestones:,} with 3 versions each: {seconds:.1f} s; "
          f"peak {peak:,.0f} MiB", flush=True)  # fmt: skip
    return seconds


def _write_lake() -> None:
    """Copy the warehouse to a lake, as a run would."""
    began = time.perf_counter()
    with open_warehouse(Path("loader.duckdb")) as connection:
        write_lake(connection, Path("lake"))
    size = sum(file.stat().st_size for file in Path("lake").rglob("*.parquet")) / 2**20
    seconds = time.perf_counter() - began
    print(f"the lake: {size:,.0f} MiB, written in {seconds:.1f} s", flush=True)


def _on_sail(server: Server, workers: int, milestones: int, reference: float) -> None:
    """Build the marts on Sail, twice, and print the seconds and the peak."""
    with session(server) as spark:
        for which in ("first", "second"):
            began = time.perf_counter()
            build_marts(spark, str(Path("lake").absolute()))
            seconds = time.perf_counter() - began
            status = Path(f"/proc/{server.pid}/status").read_text()
            (peak,) = re.findall(r"VmHWM:\s+(\d+) kB", status)
            print(f"Sail, {workers} worker(s), {which} build: marts of {milestones:,} with 3 "
                  f"versions each: {seconds:.1f} s, {seconds / reference:.1f} times DuckDB's; "
                  f"peak {int(peak) / 1024:,.0f} MiB", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
