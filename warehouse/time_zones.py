"""Whether a database knows a time zone, and has the same offsets from UTC as Python.

Python, DuckDB and Postgres each have a time zone database of their own. The marts use Python's; the
queries of analysts may use the others.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from zoneinfo import ZoneInfo

import duckdb
from dlt.destinations.exceptions import DatabaseException

from warehouse.database import Database
from warehouse.errors import WarehouseMisconfigured
from warehouse.failures import driver_message

HORIZON = timedelta(days=730)


class Queryable(Protocol):
    """A connection to a database."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query about a time zone."""


class InMemoryDuckDB:
    """DuckDB without a file: its time zone database is part of the program."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query about a time zone."""
        with duckdb.connect() as connection:
            connection.execute("set timezone = 'UTC'")
            return connection.execute(sql).fetchall()


@dataclass(frozen=True)
class Difference:
    """A moment at which a database and Python have different offsets in a time zone.

    Args:
        moment: The moment, in UTC.
        expected: The local time by Python.
        found: The local time by the database.
    """

    moment: datetime
    expected: datetime
    found: datetime


def ensure_known(database: Database, zone: str) -> None:
    """Check that the warehouse's database knows a time zone.

    Raises:
        WarehouseMisconfigured: If it does not.
    """
    name = "Postgres" if database.is_postgres else "DuckDB"
    _local_times(database, zone, [datetime.now(UTC)], name)


def first_difference(query: Queryable, zone: str, now: datetime, name: str) -> Difference | None:
    """Return the first moment from now on at which a database differs from Python; None if none.

    Args:
        query: A connection to the database.
        zone: The time zone.
        now: The first moment to compare.
        name: The name of the database, for messages.

    Raises:
        WarehouseMisconfigured: If the database does not know the time zone.
    """
    moments = _moments_to_compare(zone, now)
    for moment, found in zip(moments, _local_times(query, zone, moments, name), strict=True):
        expected = _local_time(moment, zone)
        if found != expected:
            return Difference(moment, expected, found)
    return None


def changes(zone: str, now: datetime) -> list[datetime]:
    """Return the moments of the next changes of a time zone's offset, by Python, to the second."""
    found = []
    for number in range(HORIZON.days):
        low, high = now + timedelta(days=number), now + timedelta(days=number + 1)
        if _offset(low, zone) == _offset(high, zone):
            continue
        while high - low > timedelta(seconds=1):
            middle = (low + (high - low) / 2).replace(microsecond=0)
            low, high = (
                (middle, high) if _offset(middle, zone) == _offset(low, zone) else (low, middle)
            )
        found.append(high)
    return found


def _moments_to_compare(zone: str, now: datetime) -> list[datetime]:
    """Return the moments at which time zones are compared: each day, and around each change."""
    now = now.astimezone(UTC).replace(microsecond=0)
    moments = {now + timedelta(days=number) for number in range(HORIZON.days + 1)}
    for change in changes(zone, now):
        moments |= {change - timedelta(seconds=1), change}
    return sorted(moments)


def _local_times(
    query: Queryable, zone: str, moments: Sequence[datetime], name: str
) -> list[datetime]:
    """Return the local times of some moments in a time zone, by a database."""
    listed = ", ".join(f"({n}, timestamptz '{moment}')" for n, moment in enumerate(moments))
    sql = f"select moment at time zone '{zone}' from (values {listed}) m (n, moment) order by n"
    try:
        return [row[0] for row in query.rows(sql)]
    except (duckdb.Error, DatabaseException) as error:
        raise WarehouseMisconfigured(
            f"WAREHOUSE__REPORTING_TIMEZONE is {zone}, which {name} does not know "
            f"({driver_message(error)}). Update {name}, or write another time zone with the same "
            "rules."
        ) from None


def _local_time(moment: datetime, zone: str) -> datetime:
    """Return the local time of a moment in a time zone, by Python."""
    return moment.astimezone(ZoneInfo(zone)).replace(tzinfo=None)


def _offset(moment: datetime, zone: str) -> timedelta:
    """Return a time zone's offset from UTC at a moment, by Python."""
    return _local_time(moment, zone) - moment.replace(tzinfo=None)
