"""A test's warehouse, and the job that fills it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import duckdb
import psycopg2

from pipelines.config.settings import kantata_settings
from pipelines.config.targets import configured_target
from pipelines.runtime.observer import RunObserver
from pipelines.sync.options import SyncOptions
from pipelines.sync.pipeline import SyncResult, sync
from pipelines.sync.session import locked
from sources.kantata_sandbox import Sandbox
from tests.support.first_sync import duckdb_synced, postgres_synced
from warehouse.locks import SHORTEST_WAIT
from warehouse.target import Target


def _real_time() -> datetime:
    return datetime.now(UTC)


def _point_to(sandbox: Sandbox) -> None:
    os.environ["KANTATA_API_URL"] = sandbox.url
    os.environ["KANTATA_ACCESS_TOKEN"] = sandbox.token


@dataclass
class Job:
    """One warehouse, and the job that fills it.

    Args:
        name: ``duckdb`` or ``postgres``.
        url: The URL of the Postgres database; empty for DuckDB.
        notes: The notes that the runs reported.
        now: The clock of this machine.
        cursor: The shared cursor inside `reading`.
        shortest_wait: The least time in seconds that a run waits for another one.
    """

    name: str
    url: str = ""
    notes: list[str] = field(default_factory=list)
    now: Callable[[], datetime] = _real_time
    cursor: Any = None
    shortest_wait: float = SHORTEST_WAIT

    @property
    def target(self) -> Target:
        """The warehouse that the job loads."""
        return configured_target(self.name, moved_too=True)

    def sync(self, sandbox: Sandbox, **options: Any) -> SyncResult:  # noqa: ANN401 - fields of SyncOptions
        """Run the job once against a sandbox: a full scan, unless the options differ."""
        _point_to(sandbox)
        sync_options = SyncOptions(**{"full": True} | options)
        observer = RunObserver(note=self.notes.append)
        settings = kantata_settings()
        with locked(self.target, shortest_wait=self.shortest_wait) as lock:
            return sync(settings, lock, sync_options, observer, self.now)

    def synced(self, sandbox: Sandbox) -> None:
        """Provide the warehouse as the first sync of this account leaves it.

        Most tests begin so. A test of the first sync itself calls ``sync``.
        """
        assert self.now is _real_time
        _point_to(sandbox)
        if self.name == "duckdb":
            duckdb_synced(sandbox.account, lambda: self.sync(sandbox))
        else:
            postgres_synced(sandbox.account, self.url, lambda: self.sync(sandbox))

    def empty(self) -> None:
        """Remove everything that runs made, so that the next run is a first one."""
        target = self.target
        shutil.rmtree(target.folder, ignore_errors=True)
        if target.published:
            target.published.unlink(missing_ok=True)
            return
        for schema in ("kantata", "kantata_staging", "kantata_stg", "kantata_marts"):
            self.run(f"drop schema if exists {schema} cascade")

    def run(self, sql: str) -> None:
        """Change the warehouse behind the job's back."""
        if self.name == "duckdb":
            with duckdb.connect(str(self.target.loader)) as connection:
                connection.execute(sql)
            return
        with psycopg2.connect(self.url) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
        connection.close()

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Query the warehouse: for DuckDB the file the loader fills."""
        with self.reading() as cursor:
            cursor.execute(sql)
            return list(cursor.fetchall())

    @contextmanager
    def reading(self) -> Iterator[Any]:
        """Share one cursor between queries; no run may start until it is closed."""
        if self.cursor is not None:
            yield self.cursor
            return
        if self.name == "duckdb":
            connection: Any = duckdb.connect(str(self.target.loader), read_only=True)
        else:
            connection = psycopg2.connect(self.url)
        with closing(connection), closing(connection.cursor()) as self.cursor:
            try:
                yield self.cursor
            finally:
                self.cursor = None
