"""Building users' marts on Postgres: in a session of its own, after the server parsed their SQL."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime
from types import TracebackType
from typing import Self

from warehouse.database import STAGING, connect
from warehouse.errors import WarehouseMisconfigured
from warehouse.target import Target

from .checks import Wrong, check_columns, check_rows, run_user_checks
from .errors import UserSqlFailed
from .files import SCHEMA, UserFile
from .limits import Limits
from .plan import PlannedMart, UserPlan
from .postgres_guard import QUERY, define_query, located_errors
from .registry import (
    BuiltMart,
    comment_on,
    drop_mart,
    ensure_registry,
    identifier,
    record_built,
    schema_problems,
    table_name,
)  # fmt: skip

_BUILT = f"{STAGING}.user_built"
_ROWS_SHOWN = 10
_LOCK_WAIT = "10s"  # for sessions that use a table that is replaced
_TYPES = """
select attname, format_type(atttypid, atttypmod) from pg_attribute
where attrelid = %s::regclass and attnum > 0 and not attisdropped order by attnum
"""
_INDEXES = "select indexname from pg_indexes where schemaname = %s and tablename = %s"


class PostgresBuilder:
    """Builds users' marts on Postgres.

    Args:
        target: The warehouse.
        plan: What to do.
        now: The clock of this machine, UTC.
        limits: What a mart may take.
    """

    def __init__(
        self, target: Target, plan: UserPlan, *, now: Callable[[], datetime], limits: Limits
    ) -> None:
        self._target, self._plan, self._now, self._limits = target, plan, now, limits
        self._open = ExitStack()

    def __enter__(self) -> Self:
        """Open the session.

        Raises:
            WarehouseMisconfigured: If the role may not create the schema.
        """
        self._database = self._open.enter_context(connect(self._target.destination))
        if problems := schema_problems(self._database):
            self._open.close()
            raise WarehouseMisconfigured(problems[0])
        ensure_registry(self._database)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close the session."""
        self._open.__exit__(kind, error, trace)

    def build(self, mart: PlannedMart) -> tuple[str, ...]:
        """Build a user's mart in one transaction; return what its warning checks found.

        Raises:
            UserMartFailed, UserSqlFailed: If it is wrong; its table is as before.
        """
        with self._transaction():
            return self._replace(mart)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Begin a transaction for users' SQL, with its limits."""
        settings = {
            "statement_timeout": f"{self._limits.seconds}s",
            "lock_timeout": _LOCK_WAIT,
            "search_path": "pg_catalog",
            "timezone": "UTC",  # an error resets what the session had
        }
        with self._database.transaction():
            self._database.execute("set transaction isolation level repeatable read")
            for name, value in settings.items():
                self._database.execute("select set_config(%s, %s, true)", name, value)
            self._database.execute(
                "select set_config('temp_file_limit', %s, true) "
                "where has_parameter_privilege('temp_file_limit', 'set')",
                f"{self._limits.disk // 1024}kB",
            )
            yield

    def _replace(self, mart: PlannedMart) -> tuple[str, ...]:
        """Replace the table of a user's mart in the open transaction, and check it."""
        database, file = self._database, mart.file
        define_query(database, file, self._limits.seconds)
        limit = self._limits.rows + 1
        with located_errors(self._limits.seconds):
            database.execute(
                f"create unlogged table {_BUILT} as select * from {QUERY} limit {limit}"
            )
        database.execute(f"drop view {QUERY}")
        ((rows,),) = database.rows(f"select count(*) from {_BUILT}")
        check_rows(file, rows, self._limits)
        self._write(file)
        warnings = run_user_checks(mart, self._run_check)
        built = BuiltMart(
            name=file.name,
            built_from=mart.built_from,
            built_at=self._now(),
            row_count=rows,
            warnings=warnings,
        )
        record_built(database, built)
        return warnings

    def _write(self, file: UserFile) -> None:
        """Write what was built to the table of a user's mart.

        The table is kept while its columns are the same: grants and people's views depend on it.
        """
        database, table = self._database, table_name(file.name)
        types = database.rows(_TYPES, _BUILT)
        check_columns(file, [name for name, _ in types])
        exists = file.name in database.tables(SCHEMA)
        if exists and file.name not in self._plan.built:
            raise UserSqlFailed(f"{SCHEMA}.{file.name} exists, and no file built it: rename one")
        if exists and types != database.rows(_TYPES, table):
            with located_errors(self._limits.seconds):
                database.execute(f"drop table {table}")
            exists = False
        with located_errors(self._limits.seconds):
            if exists:
                database.execute(f"delete from {table}")
                database.execute(f"insert into {table} select * from {_BUILT}")
            else:
                database.execute(f"create table {table} as select * from {_BUILT}")
            for name, columns in _indexes(file).items():
                if (name,) not in database.rows(_INDEXES, SCHEMA, file.name):
                    database.execute(f"create index {name} on {table} ({columns})")
        database.execute(f"drop table {_BUILT}")
        database.execute(f"analyze {table}")
        comment_on(database, file)

    def _run_check(self, sql: str | UserFile) -> Wrong:
        """Run a query that selects what is wrong: a user's check, or one of ours."""
        database, wrong = self._database, QUERY
        if isinstance(sql, UserFile):
            define_query(database, sql, self._limits.seconds)
        else:
            wrong = f"({sql})"
        with located_errors(self._limits.seconds):
            ((count,),) = database.rows(f"select count(*) from {wrong} wrong")
            rows = database.records(
                f"select * from {wrong} wrong order by wrong::text limit {_ROWS_SHOWN}"
            )
        if wrong == QUERY:
            database.execute(f"drop view {QUERY}")
        shown = ({name: str(value) for name, value in row.items()} for row in rows)
        return Wrong(count, tuple(shown))

    def finish(self, dropped: tuple[str, ...]) -> dict[str, str]:
        """Drop tables whose files were removed; return why some were not, by name."""
        problems = {}
        for name in dropped:
            try:
                with self._transaction(), located_errors(self._limits.seconds):
                    drop_mart(self._database, name)
            except UserSqlFailed as error:
                problems[name] = str(error)
        return problems


def _indexes(file: UserFile) -> dict[str, str]:
    """Return the columns of the indexes of a user's mart on Postgres, by the index's name."""
    lists = [file.model.grain, *(tuple(index.split(",")) for index in file.model.indexes)]
    columns = [", ".join(identifier(name.strip()) for name in names) for names in lists if names]
    return {
        # its columns make its name, so that other columns are another index
        f"{file.name[:40]}_{hashlib.blake2b(text.encode(), digest_size=4).hexdigest()}": text
        for text in columns
    }
