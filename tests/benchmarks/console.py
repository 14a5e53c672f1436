"""Time the console over a published DuckDB file of 100,000 milestones with three versions each.

It is a process of its own, as users run it. A browser paints the overview; then people request its
pages, 20 a second for half a minute, each from the moment it was due: a console that falls behind
is not asked less. No two requests have the same address, but for the overview, changes and runs.

Usage: ``python -m tests.benchmarks.console [MILESTONES [FOLDER]]``; the warehouse in the folder is
used if there is one, and kept.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from pipelines.config.targets import configured_target
from pipelines.sync.session import prepare_tables
from tests.benchmarks.account import ROOT
from tests.benchmarks.models import fill
from warehouse.database import Database, connect
from warehouse.models import build
from warehouse.publish import publish
from warehouse.raw.runs import Run, RunStatus, insert_run

MILESTONES = 100_000
RATE = 20  # requests a second
SECONDS = 30
PAINTS = 5
_MIB = 2**20
_USER, _PASSWORD = "vera", "correct horse battery"  # a viewer's
_READ_AT = datetime(2026, 9, 15, 6, tzinfo=UTC)
_TOKEN = re.compile(r'name="csrf_token" value="([0-9a-f]+)"')
# A kind of page and its address; ``n`` is another number in each request.
_PAGES: dict[str, Callable[[int, int], str]] = {
    "overview": lambda n, last: "/",
    "milestones": lambda n, last: f"/milestones?page={1 + n}",
    "one status, by amount": lambda n, last: (
        f"/milestones?status=overdue&sort=amount&order=desc&page={1 + n}"
    ),
    "one project": lambda n, last: f"/milestones?project=Project+{last // 40 - n}",
    "one client, by title": lambda n, last: (
        f"/milestones?client=Client+{n * 13 % 500}&sort=title&order=desc"
    ),
    "text": lambda n, last: f"/milestones?q=milestone+{last // 2 + n * 37}",
    "text of every title": lambda n, last: f"/milestones?q=mile&sort=project&page={1 + n}",
    "month and currency": lambda n, last: (
        f"/milestones?month=202{4 + n % 4}-{1 + n // 4 % 12:02}&currency=EUR&sort=overdue"
        f"&page={1 + n // 48}"
    ),
    "later pages": lambda n, last: f"/milestones?status=scheduled&page={10 + n}",
    "one milestone": lambda n, last: f"/milestones/{n * 104_729 % last}",
    "changes": lambda n, last: "/changes",
    "runs": lambda n, last: "/runs",
    "CSV of one project": lambda n, last: f"/milestones.csv?project=Project+{last // 40 - 100 - n}",
}


def write_warehouse(milestones: int) -> None:
    """Write the rows, a validated run and the marts into the warehouse, and publish it."""
    target = configured_target("duckdb")
    day = build.BuildContext(run_id="run", as_of=date(2026, 9, 15), timezone="Europe/Berlin")
    with connect(target.destination) as database:
        prepare_tables(database)
        fill(database, milestones)
        insert_run(database, _validated_run(database))
        build.build_marts(database, day)
    assert target.loader is not None
    assert target.published is not None
    publish(target.loader, target.published)


def _validated_run(database: Database) -> Run:
    """Return the run that read the rows."""
    totals = database.rows(
        "select currency, count(*), sum(amount_in_cents)::bigint "
        "from kantata.billing_milestones group by 1"
    )
    return Run(
        run_id="run",
        mode="scan",
        why="first run",
        started_at=_READ_AT,
        finished_at=_READ_AT,
        status=RunStatus.PROVEN,
        totals={currency: (count, subunits) for currency, count, subunits in totals},
        cursor_at=_READ_AT,
    )


@contextmanager
def _console() -> Iterator[tuple[str, int]]:
    """Run a console with a viewer; yield its address and the id of its process."""
    command = [sys.executable, "-m", "pipelines.cli", "console"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "MILESTONES_CONSOLE_PASSWORD": _PASSWORD}
    add = [*command, "user", "add", _USER, "--role", "viewer"]
    subprocess.run(add, env=environment, check=False, capture_output=True)  # in a kept folder
    process = subprocess.Popen(
        [*command, "--port", "0"], env=environment, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    try:
        found = re.search(r"http://\S+", process.stdout.readline())
        assert found
        yield found[0], process.pid
    finally:
        process.terminate()
        process.wait(30)


class _Memory(threading.Thread):
    """Follows the memory of a process until it ends; None where there is no /proc."""

    def __init__(self, pid: int) -> None:
        super().__init__(daemon=True)
        self._file = Path(f"/proc/{pid}/smaps_rollup")
        self.peaks: dict[str, int] = defaultdict(int)  # bytes

    def run(self) -> None:
        """Read it several times a second."""
        while True:
            try:
                text = self._file.read_text()
            except OSError:
                return
            for name, size in re.findall(r"^(Rss|Pss): +(\d+) kB", text, re.M):
                self.peaks[name] = max(self.peaks[name], int(size) * 1024)
            time.sleep(0.2)


def _cpu_seconds(pid: int) -> float:
    """Return the CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _log_in(url: str) -> requests.Session:
    """Log in, and return the session."""
    session = requests.Session()
    session.trust_env = False
    session.mount("http://", HTTPAdapter(pool_maxsize=64))
    token = _TOKEN.search(session.get(f"{url}/login", timeout=60).text)
    assert token
    form = {"username": _USER, "password": _PASSWORD, "csrf_token": token[1]}
    answer = session.post(f"{url}/login", data=form, timeout=60, allow_redirects=False)
    assert answer.status_code == 303, answer.text
    return session


def measure_pages(url: str, pid: int, milestones: int) -> None:
    """Print the response times of each kind of page under load."""
    session = _log_in(url)
    taken: dict[str, list[float]] = defaultdict(list)
    names = list(_PAGES)
    began, cpu = time.perf_counter() + 0.1, _cpu_seconds(pid)

    def request(number: int) -> None:
        name = names[number % len(names)]
        due = began + number / RATE
        time.sleep(max(0.0, due - time.perf_counter()))
        path = _PAGES[name](number // len(names), milestones)
        answer = session.get(url + path, timeout=60)
        taken[name].append(time.perf_counter() - due)
        assert answer.status_code == 200, (path, answer.status_code)

    with ThreadPoolExecutor(64) as pool:
        list(pool.map(request, range(RATE * SECONDS)))
    used = (_cpu_seconds(pid) - cpu) / (time.perf_counter() - began)
    for name, seconds in taken.items():
        p95 = statistics.quantiles(seconds, n=20)[18]
        print(f"{name}: p50 {statistics.median(seconds) * 1000:.0f} ms, p95 {p95 * 1000:.0f} ms; "
              "target 300", flush=True)  # fmt: skip
    print(f"{RATE} requests a second use {used:.2f} of a CPU", flush=True)


def measure_paint(url: str) -> None:
    """Print when a browser first paints the overview, the first time and later."""
    try:
        from tests.support.chromium import chromium
    except ImportError:
        print("first paint: not measured, playwright is missing (make .venv/.browser)")
        return
    try:
        with chromium() as browser:
            page = browser.new_context().new_page()
            page.goto(f"{url}/login")
            page.fill("[name=username]", _USER)
            page.fill("[name=password]", _PASSWORD)
            page.click("button[type=submit]")
            page.wait_for_url(f"{url}/")
            paints = [_first_paint(page)]
            for _ in range(PAINTS):
                page.goto(f"{url}/")
                paints.append(_first_paint(page))
    except ImportError:
        print("first paint: not measured, playwright is missing (make .venv/.browser)")
        return
    except Exception as error:  # playwright has no error for a browser that is not installed
        if "executable" not in str(error).lower():
            raise
        print("first paint: not measured, chromium is missing (Debian: chromium)")
        return
    print(f"first paint of the overview: {statistics.median(paints[1:]):.0f} ms, right after a "
          f"login {paints[0]:.0f} ms; target 500", flush=True)  # fmt: skip


def _first_paint(page: Any) -> float:  # noqa: ANN401 - playwright's
    """Return the milliseconds from the request of a page to its first contentful paint."""
    script = """() => new Promise(resolve => new PerformanceObserver(
        list => resolve(list.getEntries().find(e => e.name == 'first-contentful-paint')?.startTime)
    ).observe({type: 'paint', buffered: true}))"""
    milliseconds: float = page.evaluate(script)
    return milliseconds


def main() -> None:
    """Write the warehouse, and measure a console over it."""
    milestones = int(sys.argv[1]) if len(sys.argv) > 1 else MILESTONES
    with tempfile.TemporaryDirectory(prefix="milestones-bench-") as made:
        folder = Path(sys.argv[2] if len(sys.argv) > 2 else made).absolute()
        folder.mkdir(exist_ok=True)
        os.environ["DESTINATION__DUCKDB__CREDENTIALS"] = str(folder / "loader.duckdb")
        os.environ["WAREHOUSE__PUBLISH_TO"] = str(folder / "milestones.duckdb")
        os.chdir(folder)
        if not (folder / "milestones.duckdb").exists():
            write_warehouse(milestones)
        print(f"console over {milestones:,} milestones with 3 versions each:", flush=True)
        with _console() as (url, pid):
            memory = _Memory(pid)
            memory.start()
            measure_paint(url)
            measure_pages(url, pid, milestones)
            peaks = ", ".join(f"{n.upper()} {size / _MIB:.0f}" for n, size in memory.peaks.items())
        print(f"peak memory of the console, MiB: {peaks or 'unknown'}; target 250", flush=True)


if __name__ == "__main__":
    main()
