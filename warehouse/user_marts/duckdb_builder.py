"""Building users' marts on DuckDB: their SQL runs in a process of its own, which only reads.

What it built is then copied to the warehouse's file, each mart in a transaction of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from types import TracebackType
from typing import Self

from warehouse.database import MARTS, Database, connect
from warehouse.target import Target

from .checks import Wrong, check_columns, check_rows, run_user_checks
from .errors import UserMartFailed
from .files import SCHEMA, UserFile
from .limits import Limits
from .plan import PlannedMart, UserPlan
from .registry import BuiltMart, comment_on, drop_mart, ensure_registry, record_built, table_name
from .worker_process import WorkerProcess


class DuckDBBuilder:
    """Builds users' marts on DuckDB.

    Args:
        target: The warehouse; no connection to its file may be open.
        plan: What to do.
        now: The clock of this machine, UTC.
        limits: What a mart may take.
    """

    def __init__(
        self, target: Target, plan: UserPlan, *, now: Callable[[], datetime], limits: Limits
    ) -> None:
        self._target, self._plan, self._now, self._limits = target, plan, now, limits
        self._finished: list[tuple[UserFile, BuiltMart]] = []
        self._worker: WorkerProcess | None = None

    def __enter__(self) -> Self:
        """Prepare the worker, if there is something to build."""
        if any(not mart.is_current for mart in self._plan.marts):
            with connect(self._target.destination) as database:
                views = {schema: list(database.tables(schema)) for schema in (MARTS, SCHEMA)}
            assert self._target.loader  # noqa: S101 - only for DuckDB
            self._worker = WorkerProcess(
                loader=self._target.loader,
                folder=self._target.folder / f"{self._target.stem}-user-marts",
                memory=self._target.memory_limit,
                views=views,
                limits=self._limits,
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End the worker."""
        if self._worker is not None:
            self._worker.remove()

    def build(self, mart: PlannedMart) -> tuple[str, ...]:
        """Build a user's mart in the worker's database; return what its warning checks found.

        Raises:
            UserMartFailed, UserSqlFailed: If it is wrong.
        """
        worker, name = self._worker, mart.file.name
        assert worker is not None  # noqa: S101 - there is a mart to build
        answer = worker.ask(do="build", name=name, sql=mart.file.query)
        try:
            check_columns(mart.file, answer["columns"])
            check_rows(mart.file, answer["rows"], self._limits)
            warnings = run_user_checks(mart, self._run_check)
        except UserMartFailed:
            worker.ask(do="revert", name=name, has_rows=name in self._plan.built)
            raise
        built = BuiltMart(
            name=name,
            built_from=mart.built_from,
            built_at=self._now(),
            row_count=answer["rows"],
            warnings=warnings,
        )
        self._finished.append((mart.file, built))
        return warnings

    def _run_check(self, sql: str | UserFile) -> Wrong:
        """Run a query that selects what is wrong in the worker."""
        assert self._worker is not None  # noqa: S101 - it built the mart
        query = sql.query if isinstance(sql, UserFile) else sql
        answer = self._worker.ask(do="check", sql=query)
        return Wrong(answer["count"], tuple(answer["rows"]))

    def finish(self, dropped: tuple[str, ...]) -> dict[str, str]:
        """Copy what the worker built to the warehouse's file, and drop tables without files."""
        if self._worker is not None:
            self._worker.stop()
        with connect(self._target.destination) as database:
            ensure_registry(database)
            for name in dropped:
                with database.transaction():
                    drop_mart(database, name)
            if self._finished and self._worker is not None:
                file = str(self._worker.database).replace("'", "''")
                database.execute(f"attach '{file}' as built_by_users (read_only)")
                for mart, built in self._finished:
                    _store(database, mart, built)
                database.execute("detach built_by_users")
        return {}


def _store(database: Database, file: UserFile, built: BuiltMart) -> None:
    """Replace the table of a user's mart by the one that the worker built."""
    table = table_name(file.name)
    with database.transaction():
        database.execute(f"create or replace table {table} as select * from built_by_users.{table}")
        comment_on(database, file)
        record_built(database, built)
