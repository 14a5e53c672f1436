"""Measure incremental syncs, in requests and in seconds."""

from __future__ import annotations

import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import requests

from pipelines.config.settings import kantata_settings
from pipelines.config.targets import duckdb_target
from pipelines.runtime.observer import RunObserver
from pipelines.sync.options import SyncOptions
from pipelines.sync.pipeline import SyncResult, sync
from pipelines.sync.session import locked
from sources.kantata.transform.fingerprint import digest
from tests.benchmarks.account import serving
from tests.benchmarks.floor import TABLES, pages
from warehouse.target import Target

MILESTONES = 100_000
CHANGES = 100
DELETED = 5


def control(url: str, path: str, body: object = None) -> None:
    """Change the sandbox's account behind the API."""
    root = url.partition("/api/v1")[0]
    requests.post(f"{root}/sandbox/account/{path}", json=body or {}, timeout=60).raise_for_status()


def timed(target: Target, options: SyncOptions) -> tuple[SyncResult, float, dict[str, float]]:
    """Run a sync; return its result, its seconds, and when each of its phases began."""
    began = time.perf_counter()
    phases: dict[str, float] = {}

    def phase(name: str) -> None:
        phases[name] = time.perf_counter() - began

    with locked(target) as warehouse_lock:
        result = sync(kantata_settings(), warehouse_lock, options, RunObserver(phase=phase))
    return result, time.perf_counter() - began, phases


def change(url: str, token: str, changes: int) -> None:
    """Edit milestones that are on no invoice, and delete a few."""
    session = requests.Session()
    session.headers["Authorization"] = f"Bearer {token}"
    found: list[str] = []
    page = 1
    while len(found) < changes + DELETED:
        query = {"per_page": 200, "page": page, "order": "created_at:desc", "include": "invoices"}
        body = session.get(f"{url}/billing_milestones", params=query, timeout=60).json()
        rows = body["billing_milestones"].values()
        found += [row["id"] for row in rows if not row["invoice_ids"]]
        page += 1
    for number, id_ in enumerate(found[:changes]):
        control(url, "update_milestone", {"id": id_, "amount_in_cents": number + 1})
    for id_ in found[changes : changes + DELETED]:
        control(url, "delete_milestone", {"id": id_})


def report(
    what: str, run: Callable[[], tuple[SyncResult, float, dict[str, float]]], goal: str
) -> None:
    """Run a sync, and print its requests and seconds."""
    result, seconds, phases = run()
    row = result.run
    parts = ", ".join(f"{name} at {at:.2f}" for name, at in phases.items())
    print(
        f"{what}: {row.mode}, {row.requests} requests, {row.changed} changed, {row.deleted} "
        f"deleted, {seconds:.2f} s ({parts}); target {goal}"
    )


def floor(url: str, token: str) -> float:
    """Return the seconds to fetch all pages in turn, parse them and hash every record once."""
    began = time.perf_counter()
    for body in pages(url, token):
        for table in TABLES:
            for record in body[table].values():
                digest(record)
    return time.perf_counter() - began


def main() -> None:
    """Print the cost of incremental syncs, and of a full scan over an unchanged account."""
    milestones = int(sys.argv[1]) if len(sys.argv) > 1 else MILESTONES
    folder = Path(tempfile.mkdtemp(prefix="milestones-bench-"))
    target = duckdb_target(folder / "loader.duckdb", folder / "milestones.duckdb")
    with serving(milestones) as (url, token):
        report(f"first sync of {milestones:,}", lambda: timed(target, SyncOptions()), "-")
        report("nothing changed", lambda: timed(target, SyncOptions()), "5 requests")
        change(url, token, CHANGES)
        most = 10 + -(-CHANGES // 100) + DELETED
        report(
            f"{CHANGES} changed, {DELETED} deleted",
            lambda: timed(target, SyncOptions()),
            f"{most} requests, 3 s",
        )
        change(url, token, 1_000 - CHANGES)
        report("1,000 changed", lambda: timed(target, SyncOptions()), "loading in 2 s")
        low = floor(url, token)
        most_seconds = f"{1.3 * low:.1f} s, 1.3 times fetching, parsing and hashing ({low:.1f} s)"
        report("full scan, unchanged", lambda: timed(target, SyncOptions(full=True)), most_seconds)
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
