"""Time a first sync of 100,000 milestones against the least possible work in the same run.

The floor fetches the same pages, parses them, builds Arrow tables of the same records and inserts
them into a DuckDB file: no hashes, type checks, versions, reconciliation or copy.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from pathlib import Path

import duckdb
import orjson
import pyarrow as pa
import requests

from pipelines.config.settings import kantata_settings
from pipelines.config.targets import duckdb_target
from pipelines.runtime.observer import RunObserver
from pipelines.sync.options import SyncOptions
from pipelines.sync.pipeline import sync
from pipelines.sync.session import locked
from sources.kantata.settings import BATCH_ROWS, MILESTONE_INCLUDES
from tests.benchmarks.account import serving

MILESTONES = 100_000
ROUNDS = 3
TABLES = ("billing_milestones", "workspaces", "stories", "invoices", "external_references")


def floor(url: str, token: str, folder: Path) -> float:
    """Return the seconds that the least possible work takes."""
    began = time.perf_counter()
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    rows: dict[str, list[object]] = {table: [] for table in TABLES}
    seen: dict[str, set[str]] = {table: set() for table in TABLES}
    with duckdb.connect(str(folder / "floor.duckdb")) as connection:
        page, pages = 1, 1
        while page <= pages:
            query = {"order": "created_at:asc", "per_page": 200, "page": page}
            answer = session.get(
                f"{url}/billing_milestones", params={**query, "include": MILESTONE_INCLUDES}
            )
            body = orjson.loads(answer.content)
            pages, page = body["meta"]["page_count"], page + 1
            for table in TABLES:
                new = body[table].keys() - seen[table]
                seen[table] |= new
                rows[table] += [body[table][id_] for id_ in new]
                if len(rows[table]) >= BATCH_ROWS or page > pages:
                    _insert(connection, table, rows[table])
                    rows[table] = []
    return time.perf_counter() - began


def _insert(connection: duckdb.DuckDBPyConnection, table: str, rows: list[object]) -> None:
    batch = pa.Table.from_pylist(rows)
    for index, field in enumerate(batch.schema):
        if pa.types.is_null(field.type):
            texts = batch.column(index).cast(pa.string())
            batch = batch.set_column(index, field.name, texts)
    connection.register("batch", batch)
    connection.execute(f"create table if not exists {table} as from batch limit 0")
    connection.execute(f"insert into {table} by name select * from batch")


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
            floors.append(floor(url, token, folder))
            jobs.append(ours(folder))
            shutil.rmtree(folder)
    ratios = ", ".join(f"{job / low:.2f}" for job, low in zip(jobs, floors, strict=True))
    print(
        f"first sync of {milestones:,}: floor {min(floors):.1f} s, job {min(jobs):.1f} s, "
        f"ratio {min(jobs) / min(floors):.2f} (rounds: {ratios}); target 2.00"
    )


if __name__ == "__main__":
    main()
