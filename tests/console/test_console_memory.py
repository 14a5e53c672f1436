"""Queries of the console that need more memory than a page: they wait, and none fails."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from threading import Thread
from time import sleep

import duckdb
import pytest
import requests

from pipelines.config.console_settings import console_settings
from pipelines.config.targets import configured_target
from pipelines.console.server import Address, ConsoleServer
from pipelines.console.services import Console
from tests.support.console import Client, add_users
from tests.support.office import Office
from warehouse.milestone_list import MilestoneFilter, all_listed
from warehouse.query_memory import USUAL_MEMORY_MB
from warehouse.reader_pool import PublishedReaders
from warehouse.shared_reader import SharedReader

_ROWS = 200_000
_LONG = "select range from range(20_000)"  # more than a chunk
_SORTED = "select n, x, y from kantata.billing_milestones order by y"  # more than a page has


@pytest.fixture
def readers(tmp_path: Path) -> Iterator[PublishedReaders]:
    """Readers of a file whose rows cannot be sorted in the memory of a page."""
    target = configured_target("duckdb")
    assert target.published is not None
    target.published.parent.mkdir(exist_ok=True)
    with closing(duckdb.connect(target.published)) as database:
        database.execute("create schema kantata")
        database.execute(
            "create table kantata.billing_milestones as select range as n, "
            "md5(range::varchar) || repeat('x', 200) as x, md5((range + 1)::varchar) as y "
            f"from range({_ROWS})"
        )
    pool = PublishedReaders(target)
    yield pool
    pool.close()


def _limit(reader: SharedReader) -> str:
    """The memory limit of the file's queries now."""
    limit: str = reader.rows("select current_setting('memory_limit')")[0][0]
    return limit


def test_large_queries_get_more_memory_and_give_it_back(readers: PublishedReaders) -> None:
    """A large query runs, and the limit is then that of a page again."""
    with readers.open() as reader:
        usual = _limit(reader)
        path = reader.source
        assert len(reader.rows(_SORTED)) == _ROWS
        assert _limit(reader) == usual
        with closing(reader.chunks(_SORTED)) as chunks:
            assert next(chunks)
            with readers.open() as other:
                assert _limit(other) != usual
        assert _limit(reader) == usual  # a file that nobody fetched to its end gives it back, too
    readers.close()
    config = {"memory_limit": f"{USUAL_MEMORY_MB}MB", "threads": 1}
    with (
        closing(duckdb.connect(path, read_only=True, config=config)) as alone,
        pytest.raises(duckdb.OutOfMemoryException),
    ):
        alone.execute(_SORTED).fetchall()


def test_many_large_queries_at_once_all_end(readers: PublishedReaders) -> None:
    """Six large queries in six threads wait for each other."""

    def count(number: int) -> int:
        with readers.open() as reader:
            if number % 2:
                return len(reader.rows(_SORTED))
            with closing(reader.chunks(_SORTED)) as chunks:
                return sum(map(len, chunks))

    with ThreadPoolExecutor(6) as pool:
        assert set(pool.map(count, range(6))) == {_ROWS}


@pytest.mark.parametrize("job", ["duckdb"], indirect=True)
def test_a_short_list_does_not_wait_for_a_long_one(office: Office) -> None:
    """While a large query is read, a download of few milestones is complete."""
    pool = PublishedReaders(office.job.target)
    listed: list[str] = []

    def download() -> None:
        with pool.open() as reader:
            for rows in all_listed(reader, MilestoneFilter(), ("id",)):
                listed.extend(id_ for (id_,) in rows)

    with pool.open() as reader, closing(reader.chunks(_LONG)) as long:
        assert next(long)
        other = Thread(target=download, daemon=True)
        other.start()
        other.join(60)
        assert sorted(listed) == sorted(office.sandbox.account.milestones)
    pool.close()


@pytest.mark.parametrize("job", ["duckdb"], indirect=True)
def test_pages_do_not_wait_for_downloads(office: Office) -> None:
    """While twelve long downloads wait for a large query, pages are answered."""
    target = office.job.target
    assert target.published is not None
    with closing(duckdb.connect(target.published)) as database:
        table = "kantata_marts.billing_milestones"
        database.execute(f"insert into {table} select m.* from {table} m, range(60)")
    failures: list[Exception] = []
    console = Console(target=target, settings=console_settings(), now=lambda: datetime.now(UTC))
    add_users(console.users)
    with (
        ConsoleServer(console, Address(port=0), lambda e: str(failures.append(e))) as server,
        ThreadPoolExecutor(12) as pool,
    ):
        vera = Client(server.url)
        assert vera.log_in("vera").status_code == 303
        with console.readers.open() as reader, closing(reader.chunks(_LONG)) as rows:
            assert next(rows)
            url, cookies = f"{server.url}/milestones.csv", vera.web.cookies.get_dict()
            files = [pool.submit(requests.get, url, cookies=cookies) for _ in range(12)]
            sleep(1)
            assert vera.get("/").status_code == 200
            assert not any(file.done() for file in files)
        assert {len(file.result().text.splitlines()) for file in files} == {100 * 61 + 1}
    assert not failures
