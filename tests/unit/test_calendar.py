"""Days and months of a time zone, as instants in UTC."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta

import pytest

from warehouse.models.build import checks, marts, staging
from warehouse.models.calendar import local_day, months

ZONES = ("UTC", "Europe/Berlin", "Pacific/Auckland", "America/Los_Angeles", "Asia/Kolkata")


@pytest.mark.parametrize("zone", ZONES)
def test_each_moment_is_in_the_month_of_its_day(zone: str) -> None:
    """Months follow each other without a gap, and begin when the day of the zone does."""
    rows = list(months(date(2025, 11, 20), date(2027, 2, 3), zone))
    assert [row.first_day for row in rows] == [
        date(2025 + n // 12, n % 12 + 1, 1) for n in range(10, 26)
    ]
    assert [row.ends_at for row in rows[:-1]] == [row.starts_at for row in rows[1:]]
    for row in rows:
        assert row.starts_at.tzinfo is UTC
        assert local_day(row.starts_at, zone) == row.first_day
        before = local_day(row.starts_at - timedelta(microseconds=1), zone)
        assert before == row.first_day - timedelta(days=1)


def test_a_month_may_begin_without_a_midnight() -> None:
    """In Asuncion, 1 October 2023 began at 01:00: its midnight was skipped."""
    zone = "America/Asuncion"
    (month,) = months(date(2023, 10, 1), date(2023, 10, 31), zone)
    assert month.starts_at == datetime(2023, 10, 1, 4, tzinfo=UTC)
    assert local_day(month.starts_at, zone) == date(2023, 10, 1)
    assert local_day(month.starts_at - timedelta(seconds=1), zone) == date(2023, 9, 30)


def test_no_sql_file_converts_to_a_time_zone() -> None:
    """Each database has time zone data of its own, so only the calendar decides."""
    for model in (*staging(), *marts(), *checks()):
        assert not re.search(r"at\s+time\s+zone|timezone\(", model.sql, re.IGNORECASE), model.name
