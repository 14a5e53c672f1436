"""What users' SQL may read and call on Postgres, as the server itself parsed it.

A view runs nothing when it is created, and its rule names every relation and function in it.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from dlt.destinations.exceptions import DatabaseException
from psycopg2 import errorcodes

from warehouse.database import MARTS, STAGING, Database
from warehouse.failures import innermost_cause

from .errors import UserSqlFailed, too_long
from .files import SCHEMA, UserFile

QUERY = f"{STAGING}.user_query"
_ONE_SELECT = "it must be a single select that only reads"
# The text is passed as a value, and a cursor takes a single query. No row of it is fetched, so that
# nothing is run.
_OPEN_CURSOR = """
do $$
declare asked refcursor := 'milestones_user';
begin open asked no scroll for execute current_setting('milestones.user_sql'); end
$$
"""
_RELATIONS = f"""
select distinct n.nspname, c.relname
from pg_depend d
join pg_rewrite r on r.oid = d.objid and d.classid = 'pg_rewrite'::regclass
join pg_class c on c.oid = d.refobjid and d.refclassid = 'pg_class'::regclass
join pg_namespace n on n.oid = c.relnamespace
where r.ev_class = '{QUERY}'::regclass and c.oid <> r.ev_class
order by 1, 2
"""
# Functions of the server that change nothing and read no file and no table: a volatile one may do
# either, except these. Those of others may do anything. The parsed rule has their numbers.
_HARMLESS = "'random', 'clock_timestamp', 'timeofday', 'gen_random_uuid', 'uuidv4', 'uuidv7'"
_FUNCTIONS = f"""
select distinct n.nspname, p.proname
from pg_rewrite r
cross join regexp_matches(
    r.ev_action::text, ':(?:funcid|aggfnoid|winfnoid|opfuncid) ([1-9][0-9]*)', 'g'
) found
join pg_proc p on p.oid = found[1]::oid
join pg_namespace n on n.oid = p.pronamespace
where r.ev_class = '{QUERY}'::regclass
    and (
        n.nspname <> 'pg_catalog'
        or p.oid >= 16384
        or (p.provolatile = 'v' and p.proname not in ({_HARMLESS}))
        or p.proname ~ '_to_xml|^lo_|^pg_(?!typeof$)|^current_setting$'
    )
order by 1, 2
"""
# Those of others, whose functions may do anything; the row of a relation is a type, too.
_OPERATORS_AND_TYPES = f"""
select n.nspname, coalesce(o.oprname, t.typname)
from pg_depend d
join pg_rewrite r on r.oid = d.objid and d.classid = 'pg_rewrite'::regclass
left join pg_operator o on o.oid = d.refobjid and d.refclassid = 'pg_operator'::regclass
left join pg_type t on t.oid = d.refobjid and d.refclassid = 'pg_type'::regclass
join pg_namespace n on n.oid = coalesce(o.oprnamespace, t.typnamespace)
where r.ev_class = '{QUERY}'::regclass and d.refobjid >= 16384
    and not (t.typtype = 'c' and n.nspname in ('{MARTS}', '{SCHEMA}'))
order by 1, 2
"""


def define_query(database: Database, file: UserFile, seconds: int) -> None:
    """Define the view of a user's query, in the open transaction; check what it reads and calls.

    Args:
        database: A connection.
        file: The user's file.
        seconds: The time limit that the transaction has.

    Raises:
        UserSqlFailed: If it is not a single select, or may not be run.
    """
    _ensure_single_select(database, file, seconds)
    statement = f"create view {QUERY} as {file.query}"
    with located_errors(seconds, statement):
        database.execute(statement)
    for schema, name in database.rows(_RELATIONS):
        if schema not in (MARTS, SCHEMA):
            raise UserSqlFailed(
                f"it reads {schema}.{name}: a mart may read {MARTS} and {SCHEMA} only"
            )
        if schema == SCHEMA and name not in file.reads:
            raise UserSqlFailed(f"it reads {schema}.{name}: write this name in one piece")
    for schema, name in (*database.rows(_FUNCTIONS), *database.rows(_OPERATORS_AND_TYPES)):
        raise UserSqlFailed(
            f"it uses {schema}.{name}: a mart may use functions of Postgres that only compute"
        )


def _ensure_single_select(database: Database, file: UserFile, seconds: int) -> None:
    """Check that a user's text is a single query: else what follows a semicolon would be run.

    The planner may call functions that others declared as immutable, so it can only read here.
    """
    with located_errors(seconds, file.query):
        database.execute("savepoint single_select")
        database.execute("set transaction read only")
        database.execute("select set_config('milestones.user_sql', %s, true)", file.query)
        database.execute(_OPEN_CURSOR)
        database.execute("rollback to savepoint single_select")


@contextmanager
def located_errors(seconds: int, text: str = "") -> Iterator[None]:
    """Raise an error of the server about users' SQL as one with its line, if it names a place.

    Args:
        seconds: The time limit that the transaction has.
        text: The statement with the SQL, which begins in its first line.

    Raises:
        UserSqlFailed: If the server refuses or ends the statement.
    """
    try:
        yield
    except DatabaseException as error:
        cause = innermost_cause(error)
        if not isinstance(cause, psycopg2.Error) or not cause.pgcode:
            raise  # the connection was lost
        raise UserSqlFailed(_message(cause, seconds), _line(cause, text)) from None


def _message(cause: psycopg2.Error, seconds: int) -> str:
    """Return what is wrong with users' SQL, from an error of the server."""
    said = str(cause.diag.message_primary)
    if "as cursor" in said:
        return _ONE_SELECT
    if cause.pgcode == errorcodes.QUERY_CANCELED:
        return too_long(seconds)
    if cause.pgcode == errorcodes.LOCK_NOT_AVAILABLE:
        return "another session uses its table: the next run tries again"
    detail = (cause.diag.message_detail or "").replace("\n", "; ")
    if cause.pgcode == errorcodes.DEPENDENT_OBJECTS_STILL_EXIST:
        return f"its columns changed or its file was removed, and {detail}: drop that first"
    return f"{said}: {detail}" if detail else said


def _line(cause: psycopg2.Error, text: str) -> int | None:
    """Return the line of users' SQL that an error of the server points to; None if to none."""
    place = cause.diag.internal_position or cause.diag.statement_position
    return text[: int(place) - 1].count("\n") + 1 if place and text else None
