"""A query that a proposer wrote: it can read the warehouse, and do nothing else.

On DuckDB it reads the published file, so it holds no lock of a run; no other file can be read. On
Postgres it runs in a session of a role that can only read: what a session may do, a query may do.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from threading import Event, Thread
from time import monotonic
from typing import Any

import duckdb
import psycopg2
from psycopg2.extensions import connection as PostgresConnection

from .database import QueryResult, connect
from .errors import WarehouseMisconfigured
from .failures import database_failure, driver_message
from .postgres_url import postgres_parameters, postgres_uri
from .reader import check_exists, open_published
from .target import Target

SETTING = "WAREHOUSE__READER_CREDENTIALS"
TIME_LIMIT = 60.0  # seconds
ROW_LIMIT = 100_000
_SLICE_SECONDS = 1.0
_ONE_SELECT = "it must be a single select that only reads the warehouse"
# The text is passed as a value, never as part of our own statement; a cursor takes a single query.
_OPEN_CURSOR = """
do $$
declare asked refcursor := 'milestones_asked';
begin open asked no scroll for execute current_setting('milestones.asked'); end
$$
"""
_SCHEMAS = "select oid from pg_namespace where nspname like 'kantata%'"
_RELATIONS = (
    f"select oid from pg_class where relnamespace in ({_SCHEMAS}) and relkind in ('r', 'v')"
)
# What a role that only reads does not have: a sentence's end, and the question whether it has it.
_POWERS = (
    ("is a superuser", "select 1 where current_setting('is_superuser') = 'on'"),
    (
        "may create roles, replicate, or ignore the security of rows",
        "select 1 from pg_roles where rolname = current_user "
        "and (rolcreaterole or rolreplication or rolbypassrls)",
    ),
    (
        "owns a schema of the warehouse, or belongs to the role that does",
        "select 1 from pg_namespace where nspname like 'kantata%' "
        "and pg_has_role(current_user, nspowner, 'member')",
    ),
    (
        "may write a table of the warehouse",
        f"select 1 from pg_class where oid in ({_RELATIONS}) and "
        "has_table_privilege(oid, 'insert, update, delete, truncate')",
    ),
    (
        "may create tables in a schema of the warehouse",
        f"select 1 from pg_namespace where oid in ({_SCHEMAS}) "
        "and has_schema_privilege(oid, 'create')",
    ),
    (
        "belongs to a role that may write tables, read files of the server, or end sessions",
        "select 1 from pg_roles where rolname in ('pg_write_all_data', 'pg_read_server_files', "
        "'pg_write_server_files', 'pg_execute_server_program', 'pg_signal_backend') "
        "and pg_has_role(current_user, oid, 'member')",
    ),
    (
        "may connect to other databases through dblink",
        "select 1 from pg_proc where proname like 'dblink%' "
        "and has_function_privilege(oid, 'execute')",
    ),
)


class QueryRefused(Exception):
    """The given text is not a query that only reads, or the query fails."""


def run_proposer_query(target: Target, sql: str, time_limit: float = TIME_LIMIT) -> QueryResult:
    """Run a query that somebody else wrote; return its columns and rows.

    Args:
        target: The warehouse.
        sql: The text of the query.
        time_limit: Seconds after which it is ended.

    Raises:
        QueryRefused: If it is not a single query that only reads the warehouse, or it fails.
        WarehouseError: If there is no warehouse, or its role may do more than read.
    """
    _check_text(sql)
    if target.loader is None:
        return _run_on_postgres(target, sql, time_limit)
    return _run_on_duckdb(target, sql, time_limit)


def check_reader(target: Target) -> None:
    """Check the role of proposers' queries on Postgres, if it is configured.

    Raises:
        WarehouseError: If it cannot connect, or may do more than read.
    """
    if target.loader is None and target.reader_credentials:
        with closing(_connect(target, TIME_LIMIT)):
            pass


def _check_text(sql: str) -> None:
    """Check that a proposer's query is text in UTF-8 without null characters."""
    try:
        sql.encode()
    except UnicodeEncodeError:
        raise QueryRefused("it is not text in UTF-8") from None
    if "\0" in sql:
        raise QueryRefused("it contains a null character")


def _run_on_duckdb(target: Target, sql: str, time_limit: float) -> QueryResult:
    """Run a proposer's query on the published file, if it is a single select."""
    check_exists(target)
    with open_published(target) as connection:
        try:
            kinds = [statement.type for statement in connection.extract_statements(sql)]
            if kinds != [duckdb.StatementType.SELECT]:
                raise QueryRefused(_ONE_SELECT)

            def run() -> QueryResult:
                cursor = connection.execute(sql)
                columns = [column[0] for column in cursor.description or ()]
                return _result(columns, cursor.fetchmany(ROW_LIMIT + 1))

            return _limited(run, connection.interrupt, time_limit)
        except duckdb.Error as error:
            raise QueryRefused(driver_message(error)) from None


def _run_on_postgres(target: Target, sql: str, time_limit: float) -> QueryResult:
    """Run a proposer's query on Postgres, in a session of the role that can only read."""
    with closing(_connect(target, time_limit)) as connection, connection.cursor() as cursor:

        def run() -> QueryResult:
            cursor.execute("select set_config('milestones.asked', %s, true)", (sql,))
            cursor.execute(_OPEN_CURSOR)
            cursor.execute(f"fetch {ROW_LIMIT + 1} from milestones_asked")
            columns = [column.name for column in cursor.description or ()]
            return _result(columns, cursor.fetchall())

        try:
            return _limited(run, connection.cancel, time_limit)
        except psycopg2.Error as error:
            message = driver_message(error)
            if "statement timeout" in message:
                message = _too_long(time_limit)
            raise QueryRefused(_ONE_SELECT if "as cursor" in message else message) from None


def _connect(target: Target, time_limit: float) -> PostgresConnection:
    """Open a session for proposers' queries, which begins a transaction that only reads."""
    if not target.reader_credentials:
        raise WarehouseMisconfigured(
            f"a query on Postgres needs a role of its own that can only read: set {SETTING}, "
            "for example to a login that is a member of milestones_reader in warehouse/roles.sql"
        )
    uri = postgres_uri(postgres_parameters(target.reader_credentials, SETTING))
    with connect(target.destination) as warehouse:
        ((name,),) = warehouse.rows("select current_database()")
    try:
        connection = psycopg2.connect(uri)
    except psycopg2.Error as error:
        failure = database_failure(f"{SETTING}: no connection: {driver_message(error)}")
        raise failure from None
    try:
        connection.set_session(isolation_level="REPEATABLE READ", readonly=True)
        with connection.cursor() as cursor:
            cursor.execute("set timezone = 'UTC'")
            # The server ends the query, also if this process is killed.
            cursor.execute("select set_config('statement_timeout', %s, false)", (f"{time_limit}s",))
            cursor.execute("select current_database()")
            if cursor.fetchall() != [(name,)]:
                raise WarehouseMisconfigured(
                    f"{SETTING} names another database than that of the warehouse, {name}"
                )
            _check_powers(cursor)
    except BaseException:
        connection.close()
        raise
    return connection


def _check_powers(cursor: Any) -> None:  # noqa: ANN401 - a driver's own
    """Refuse a role for proposers' queries that may do more than read."""
    for power, question in _POWERS:
        cursor.execute(question)
        if cursor.fetchall():
            raise WarehouseMisconfigured(
                f"the role in {SETTING} {power}, so a query could do that, too: use a role that "
                "can only read, such as milestones_reader in warehouse/roles.sql"
            )


def _result(columns: list[str], rows: list[tuple[Any, ...]]) -> QueryResult:
    """Return the result of a proposer's query; refuse more rows than anybody can look at."""
    if len(rows) > ROW_LIMIT:
        raise QueryRefused(f"it has more than {ROW_LIMIT:,} rows: restrict it")
    return QueryResult(columns, rows)


def _limited(
    run: Callable[[], QueryResult], interrupt: Callable[[], None], time_limit: float
) -> QueryResult:
    """Run a proposer's query in a thread, so that a signal or the time limit can end it."""
    results: list[QueryResult] = []
    errors: list[BaseException] = []
    done = Event()  # Thread.join forgets a thread that lives on if a signal interrupts it

    def work() -> None:
        try:
            results.append(run())
        except BaseException as error:  # it is raised in the thread that waits
            errors.append(error)
        finally:
            done.set()

    Thread(target=work, name="proposer's query", daemon=True).start()
    try:
        is_in_time = _wait(done, time_limit)
    finally:
        while not done.wait(0):
            interrupt()  # again, in case the query had not begun yet
            done.wait(0.1)
    if not is_in_time:
        raise QueryRefused(_too_long(time_limit))
    if errors:
        raise errors[0]
    return results[0]


def _wait(done: Event, seconds: float) -> bool:
    """Wait for a proposer's query; return whether it was done in time.

    In slices: a signal that comes just before a wait begins is only seen after it.
    """
    deadline = monotonic() + seconds
    while (left := deadline - monotonic()) > 0:
        if done.wait(min(left, _SLICE_SECONDS)):
            return True
    return done.is_set()


def _too_long(time_limit: float) -> str:
    """Return why a proposer's query was ended."""
    return f"it took longer than {time_limit:.0f} s, and was ended"
