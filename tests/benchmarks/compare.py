"""Compare a first sync with what one would run without `milestones`, on the same sandbox.

Run with ``python -m tests.benchmarks.compare [MILESTONES [ROUNDS]]``. The programs run in turn, in
several rounds, each as a process of its own with its imports, and each into a new DuckDB file:

- the floor: fetch, parse, and insert what was read;
- ``milestones sync``;
- dlt's declarative ``rest_api`` source, with the same pages: milestones alone, and all five tables,
  for which it fetches the pages five times;
- ``tap-rest-api-msdk`` into ``target-duckdb``: milestones alone.

Only the first two have the five tables from one read. Only ``milestones sync`` sees whether a page
was shifted by a deletion, keeps versions, compares totals and builds marts.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path

import duckdb
import requests

from sources.kantata.settings import MILESTONE_INCLUDES
from tests.benchmarks.account import ROOT, serving
from tests.benchmarks.floor import TABLES
from tests.benchmarks.processes import Usage, run, spread

MILESTONES, ROUNDS = 100_000, 3
SINGER = ROOT / ".venv-benchmarks"  # made once; an environment for each program
_DECLARATIVE = """
import sys, dlt
from dlt.sources.rest_api import rest_api_source
url, token, include, *tables = sys.argv[1:]
pages = {"type": "page_number", "base_page": 1, "total_path": "meta.page_count"}
def resource(table):
    return {
        "name": table, "primary_key": "id", "write_disposition": "merge",
        "endpoint": {
            "path": "billing_milestones", "data_selector": f"{table}.*", "paginator": pages,
            "params": {"order": "created_at:asc", "per_page": 200, "include": include},
        },
    }
client = {"base_url": url + "/", "auth": {"type": "bearer", "token": token}}
source = rest_api_source({"client": client, "resources": [resource(t) for t in tables]})
dlt.pipeline("declared", destination=dlt.destinations.duckdb("loaded.duckdb"),
             dataset_name="main_data", pipelines_dir=".").run(source)
"""


def singer(url: str, token: str, folder: Path) -> Usage:
    """Run the Singer tap into the Singer target."""
    stream = {
        "name": "billing_milestones",
        "path": "/billing_milestones",
        "primary_keys": ["id"],
        "records_path": "$.billing_milestones.*",
        "params": {"order": "created_at:asc", "per_page": 200, "include": MILESTONE_INCLUDES},
    }
    tap = {
        "api_url": url,
        "auth_method": "bearer_token",
        "bearer_token": token,
        "pagination_request_style": "page_number_paginator",
        "pagination_response_style": "page",
        "next_page_token_path": "$.results[0]",  # an empty page is the last
        "pagination_next_page_param": "page",
        "streams": [stream],
    }
    target = {"filepath": str(folder / "loaded.duckdb"), "default_target_schema": "main_data"}
    for name, config in (("tap", tap), ("target", target)):
        (folder / f"{name}.json").write_text(json.dumps(config))
    programs = [
        [str(_environment(name) / name), "--config", f"{kind}.json"]
        for kind, name in (("tap", "tap-rest-api-msdk"), ("target", "target-duckdb"))
    ]
    return run(*programs, folder=folder)


def _environment(package: str) -> Path:
    """Return the folder of the programs of a package, in an environment of its own."""
    folder = SINGER / package
    if not (folder / "installed").exists():
        venv.create(folder, with_pip=True, clear=True)
        packages = [package, "duckdb<2"]  # whose files this process can read
        subprocess.run([folder / "bin" / "pip", "install", "--quiet", *packages], check=True)
        (folder / "installed").touch()
    return folder / "bin"


def declarative(*tables: str) -> Callable[[str, str, Path], Usage]:
    """Return what runs dlt's declarative source for some tables."""

    def run_it(url: str, token: str, folder: Path) -> Usage:
        words = [sys.executable, "-c", _DECLARATIVE, url, token, MILESTONE_INCLUDES, *tables]
        return run(words, folder=folder)

    return run_it


def floor(url: str, token: str, folder: Path) -> Usage:
    """Run the floor as a program."""
    return run(
        [sys.executable, "-m", "tests.benchmarks.floor", url, token, "floor.duckdb"], folder=folder
    )


def ours(_url: str, _token: str, folder: Path) -> Usage:
    """Run ``milestones sync``."""
    return run([sys.executable, "-m", "pipelines.cli", "sync"], folder=folder)


PROGRAMS: dict[str, Callable[[str, str, Path], Usage]] = {
    "floor": floor,
    "milestones sync": ours,
    "dlt rest_api, milestones alone": declarative("billing_milestones"),
    "dlt rest_api, five tables": declarative(*TABLES),
    "tap-rest-api-msdk, milestones alone": singer,
}


def loaded(folder: Path) -> tuple[int, int]:
    """Return how many milestones a program loaded, and the sum of their minor units."""
    for file in ("milestones.duckdb", "loaded.duckdb", "floor.duckdb"):
        if (folder / file).exists():
            with duckdb.connect(str(folder / file), read_only=True) as connection:
                schema = {"milestones.duckdb": "kantata", "loaded.duckdb": "main_data"}
                count, amount = connection.sql(
                    "select count(*), sum(amount_in_cents)::bigint from "
                    f"{schema.get(file, 'main')}.billing_milestones"
                ).fetchall()[0]
                return count, amount
    raise FileNotFoundError(folder)


def main() -> None:
    """Print a line for each program: medians and spread, and ratios to the floor."""
    given = [int(word) for word in sys.argv[1:]]
    milestones, rounds = (*given, *(MILESTONES, ROUNDS)[len(given) :])
    os.environ["PYTHONPATH"] = str(ROOT)
    os.environ["RUNTIME__DLTHUB_TELEMETRY"] = "false"
    usages: dict[str, list[Usage]] = {name: [] for name in PROGRAMS}
    sent: dict[str, int] = {}
    found: dict[str, tuple[int, int]] = {}
    for package in ("tap-rest-api-msdk", "target-duckdb"):
        _environment(package)
    with serving(milestones) as (url, token):
        for _ in range(rounds):
            for name, program in PROGRAMS.items():
                folder = Path(tempfile.mkdtemp(prefix="milestones-bench-"))
                before = _requests(url)
                usages[name].append(program(url, token, folder))
                sent[name], found[name] = _requests(url) - before, loaded(folder)
                shutil.rmtree(folder)
    heads = ("seconds", "times the floor", "CPU-seconds", "peak MiB", "requests", "rows", "sum")
    print(f"| program | {' | '.join(heads)} |")
    print("|---" * (len(heads) + 1) + "|")
    for name, runs in usages.items():
        ratios = [u.seconds / low.seconds for u, low in zip(runs, usages["floor"], strict=True)]
        count, amount = found[name]
        cells = (
            spread([u.seconds for u in runs]),
            spread(ratios, 2),
            spread([u.cpu_seconds for u in runs]),
            f"{max(u.peak for u in runs) / 2**20:,.0f}",
            f"{sent[name]:,}",
            f"{count:,}",
            "right" if found[name] == found["floor"] else f"WRONG: {amount}",
        )
        print(f"| {name} | {' | '.join(cells)} |")


def _requests(url: str) -> int:
    """Return the number of requests that the sandbox has served so far."""
    root = url.partition("/api/v1")[0]
    return sum(requests.get(f"{root}/sandbox/requests", timeout=60).json().values())


if __name__ == "__main__":
    main()
