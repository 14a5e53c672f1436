"""Today and the months of a time zone, as instants in UTC: the only place that computes them.

Python, DuckDB and Postgres each have a time zone database of their own, and these may differ. So
no SQL file converts a moment to a time zone: marts compare it with the instants stored here.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from warehouse.database import DATASET, MARTS, STAGING, Database, Reader

from .statistics import analyze

_HISTORY = f"{MARTS}.billing_milestone_history"


class Period(NamedTuple):
    """A row of the calendar.

    Args:
        period: ``day`` (today), ``week`` (this one), ``month``, or ``payment``: the day of a moment
            at which payments were first observed.
        first_day: Its first day, in the time zone.
        starts_at: Its first instant; of ``payment`` the moment itself.
        ends_at: The first instant of the next one.
    """

    period: str
    first_day: date
    starts_at: datetime
    ends_at: datetime


def local_day(moment: datetime, timezone: str) -> date:
    """Return the day of the calendar that a moment belongs to in a time zone."""
    return moment.astimezone(ZoneInfo(timezone)).date()


def write_calendar(database: Database, as_of: date, timezone: str) -> None:
    """Write the calendar of a build."""
    periods = calendar_periods(database, as_of, timezone)
    database.execute(f"delete from {STAGING}.calendar")
    database.insert_many(f"{STAGING}.calendar", Period._fields, periods)
    analyze(database, f"{STAGING}.calendar")


def calendar_periods(database: Reader, as_of: date, timezone: str) -> list[Period]:
    """Return the calendar: today, this week, months of the history, moments of payments.

    Args:
        database: A connection, whose history is built.
        as_of: The day that the marts call today.
        timezone: ``reporting_timezone``.
    """
    moments = database.rows(f"select min(valid_from), max(valid_from) from {_HISTORY}")[0]
    days = [as_of, *(local_day(moment, timezone) for moment in moments if moment)]
    today = Period("day", as_of, *_edges(as_of, as_of + timedelta(days=1), timezone))
    monday = as_of - timedelta(days=as_of.weekday())
    week = Period("week", monday, *_edges(monday, monday + timedelta(days=7), timezone))
    return [
        today,
        week,
        *months(min(days), max(days), timezone),
        *_payments(database, timezone),
    ]


def _payments(database: Reader, timezone: str) -> Iterator[Period]:
    """Yield the day of the calendar of each moment at which payments of invoices were observed.

    A run observes all payments at one moment, so there are few; and joining invoices by the moment
    takes a tenth of the time of comparing each with the edges of all days.
    """
    for (moment,) in database.rows(
        f"select distinct paid_observed_at from {DATASET}.invoice_payments "
        "where paid_observed_at is not null"
    ):
        day = local_day(moment, timezone)
        _, ends_at = _edges(day, day + timedelta(days=1), timezone)
        yield Period("payment", day, moment, ends_at)


def months(first: date, last: date, timezone: str) -> Iterator[Period]:
    """Yield the calendar's months from that of the first day to that of the last."""
    month = first.replace(day=1)
    while month <= last:
        following = (month + timedelta(days=31)).replace(day=1)
        yield Period("month", month, *_edges(month, following, timezone))
        month = following


def _edges(start: date, end: date, timezone: str) -> tuple[datetime, datetime]:
    """Return the first instants of two days of the calendar in a time zone, in UTC.

    A day whose midnight the clocks skip begins when they are moved.
    """
    starts_at, ends_at = (
        datetime(day.year, day.month, day.day, tzinfo=ZoneInfo(timezone)).astimezone(UTC)
        for day in (start, end)
    )
    return starts_at, ends_at
