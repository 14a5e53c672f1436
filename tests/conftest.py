"""Fixtures for every test: an empty folder, no outside configuration, and real warehouses."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import psycopg2
import pytest
from xdist.scheduler import LoadScheduling
from xdist.workermanage import WorkerController

pytest.register_assert_rewrite("tests.support")  # so that a failed comparison shows what differs

from tests.support.fork_server import skip_search_for_pandas
from tests.support.job import Job
from tests.support.memory import remember_commands, remember_types, write_yaml_in_c
from tests.support.our_settings import OURS
from tests.support.postgres import empty_database, shared_server, stop_shared_server
from tests.support.processes import end_fork_server
from tests.support.run_folder import make_run_folder, remove_run_folder, work_in_memory
from tests.support.usage import Usage

ROLES = Path(__file__).parents[1] / "warehouse" / "roles.sql"
_VERSION = "version of Postgres"
_USAGE = pytest.StashKey[Usage]()
_SHARED = "tests/surface/test_snapshot.py"  # its tests share one life, which takes seconds
_LONGEST = ("test_the_warehouse_follows", "test_soak", "test_killed")


@pytest.fixture(autouse=True)
def _own_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run each test in an empty folder, with an empty home and without the machine's settings."""
    for name in list(os.environ):
        if name.startswith(OURS):
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("SOURCES__KANTATA__BACKOFF_SECONDS", "0.01")
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def postgres_server() -> str:
    """The URL of a Postgres server."""
    return shared_server()


@pytest.fixture
def postgres_url(
    postgres_server: str, record_property: Callable[[str, object], None]
) -> Iterator[str]:
    """The URL of an empty database."""
    with empty_database(postgres_server) as url:
        with closing(psycopg2.connect(url)) as connection:
            record_property(_VERSION, connection.server_version)
        yield url


@pytest.fixture(params=["duckdb", "postgres"])
def job(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Job:
    """The job, once for each kind of warehouse."""
    monkeypatch.setenv("KANTATA_API_URL", "")  # set by the job, and undone after the test
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", "")
    if request.param == "duckdb":
        return Job("duckdb")
    url = request.getfixturevalue("postgres_url")
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", url)
    return Job("postgres", url)


@pytest.fixture
def postgres(postgres_url: str, monkeypatch: pytest.MonkeyPatch) -> Job:
    """The job on Postgres, for what only Postgres does."""
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres_url)
    monkeypatch.setenv("KANTATA_API_URL", "")
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", "")
    return Job("postgres", postgres_url)


@pytest.fixture
def roles(postgres: Job, postgres_server: str) -> Iterator[str]:
    """Create the roles of roles.sql for the warehouse of ``postgres``; gives the loader's URL."""
    with closing(psycopg2.connect(postgres_server)) as server_wide, server_wide.cursor() as cursor:
        cursor.execute("select pg_advisory_lock(1)")  # roles belong to the whole server
        postgres.run(ROLES.read_text())
        postgres.run("alter role milestones_loader password 'f@w:r/ghts%'")
        yield "postgresql://milestones_loader:f%40w%3Ar%2Fghts%25@" + postgres.url.partition("@")[2]
        for kind in ("console", "loader", "reader", "proposer", "approver"):
            role = f"milestones_{kind}"
            postgres.run(f"drop owned by {role} cascade")
            postgres.run(f"drop role {role}")


def pytest_configure(config: pytest.Config) -> None:
    """Begin a run, in the process that starts the workers."""
    skip_search_for_pandas()
    remember_types()
    write_yaml_in_c()
    remember_commands()
    work_in_memory()
    if not hasattr(config, "workerinput"):
        make_run_folder()
        config.stash[_USAGE] = Usage()


def pytest_unconfigure(config: pytest.Config) -> None:
    """Clean up after a run that did not reach its summary."""
    if _USAGE in config.stash:
        stop_shared_server()
        remove_run_folder()


class _Scheduling(LoadScheduling):
    """Send the tests that share a life to one worker, so that it is not lived again in another."""

    def _send_tests(self, node: WorkerController, num: int) -> None:
        while num > 0 and self._shares(num - 1) and self._shares(num):
            num += 1
        super()._send_tests(node, num)

    def _shares(self, place: int) -> bool:
        waiting = self.pending[place : place + 1]
        return any((self.collection or [])[number].startswith(_SHARED) for number in waiting)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> LoadScheduling | None:
    """Schedule tests as `--dist load` does, but for those that share a life."""
    return _Scheduling(config, log) if config.getvalue("dist") == "load" else None


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark long tests, and start the longest first, so that all cores finish at the same time."""
    for item in items:
        kinds = getattr(item, "callspec", None)
        if any(mark.args[0] in kinds.params.values() for mark in item.iter_markers("long_on")):
            item.add_marker("long")
    items.sort(key=lambda item: not item.name.startswith(_LONGEST))


def pytest_collection_finish() -> None:
    """Exempt what is imported from garbage collections, each of which would walk through it.

    Collect seldom: a test leaves little garbage, and looking for it takes 3 % of its CPU time.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000)


@pytest.hookimpl(trylast=True)
def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Print the versions of Postgres, the figures that tests recorded, and the cost of the run."""
    if (usage := config.stash.get(_USAGE, None)) is None:  # a worker, whose summary is not shown
        return
    reports = [r for kind in ("passed", "failed") for r in terminalreporter.stats.get(kind, [])]
    versions = {v for r in reports for name, v in r.user_properties if name == _VERSION}
    for version in sorted(versions):
        major, minor = divmod(version, 10_000)
        terminalreporter.write_line(f"run on Postgres {major}.{minor}")
    for report in terminalreporter.stats.get("passed", []):
        for name, count in getattr(report, "user_properties", []):
            if name != _VERSION:
                terminalreporter.write_line(f"{report.nodeid}: {count} {name}")
    stop_shared_server()  # so that its time is counted
    end_fork_server()
    usage.await_orphans()
    terminalreporter.write_line(f"used {usage.described()}")
