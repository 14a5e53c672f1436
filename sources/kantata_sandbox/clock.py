"""Time as the account shows it: ISO 8601 without fractions, with the offset of its zone.

The zone of the offsets is unknown (API.md#unknowns, U18). The sandbox uses Pacific time with
summer time, the worst plausible case: texts of different offsets do not sort like the moments they
name. The rule is written out, because some machines have no time zone data.
"""

import calendar
import time
from datetime import UTC, datetime, timedelta
from functools import cache
from operator import index
from typing import NamedTuple

_HOUR = 3600
_DAY = 86400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SECOND = timedelta(seconds=1)
_CLOCK_TEXT = tuple(
    f"T{m // 60:02}:{m % 60:02}:" for m in range(24 * 60)
)  # of each minute: a million stamps are written while seeding
_SECOND_TEXT = tuple(f"{s:02}" for s in range(60))


@cache
def _summer(year: int) -> tuple[int, int]:
    """Return the first and last second of a year's summer time, by clocks in the United States."""
    march = calendar.weekday(year, 3, 1)
    november = calendar.weekday(year, 11, 1)
    start = datetime(year, 3, 14 - march, 10, tzinfo=UTC)
    end = datetime(year, 11, 1 + (6 - november) % 7, 9, tzinfo=UTC)
    return int(start.timestamp()), int(end.timestamp())


class _DayOffsets(NamedTuple):
    """The clock's hours before a switch, its second (or the day's end), and hours after it."""

    before: int
    switch: int
    after: int


@cache
def _day_offsets(day: int) -> _DayOffsets:
    """Return the clock's offsets of the day that is so many days after 1970-01-01."""
    first, last = _summer((datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).year)
    begin, end = day * _DAY, (day + 1) * _DAY
    if begin <= first < end:
        return _DayOffsets(-8, first, -7)
    if begin <= last < end:
        return _DayOffsets(-7, last, -8)
    hours = -7 if first <= begin < last else -8
    return _DayOffsets(hours, end, hours)


@cache
def day_text(day: int) -> str:
    """Return the date `YYYY-MM-DD` that is `day` days after 1970-01-01."""
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=day)).strftime("%Y-%m-%d")


def stamp(moment: int) -> str:
    """Write the clock's seconds since 1970 as the API does: `2026-04-15T16:48:48-07:00`."""
    before, switch, after = _day_offsets(moment // _DAY)
    hours = before if moment < switch else after
    day, second = divmod(moment + hours * _HOUR, _DAY)
    minute, second = divmod(second, 60)
    zone = "-07:00" if hours == -7 else "-08:00"
    return day_text(day) + _CLOCK_TEXT[minute] + _SECOND_TEXT[second] + zone


def instant(text: str) -> int:
    """Return the seconds since 1970 of an ISO 8601 text; one without an offset is in UTC.

    Raises:
        ValueError: the text is not a time.
    """
    moment = datetime.fromisoformat(text)
    return ((moment if moment.tzinfo else moment.replace(tzinfo=UTC)) - _EPOCH) // _SECOND


def moment_of(value: datetime | str | int) -> int:
    """Return the seconds since 1970 of a datetime, a text or a number of seconds."""
    if isinstance(value, str):
        return instant(value)
    if isinstance(value, datetime):
        return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    return index(value)


class Clock:
    """The server's clock: starts at a given time or the real one, then runs with real time."""

    def __init__(self, start: int | None, not_before: int) -> None:
        real = time.time()
        self._shift = (start if start is not None else max(real, not_before)) - real

    def now(self) -> int:
        """Return the clock's time in seconds since 1970."""
        return int(time.time() + self._shift)

    def advance(self, seconds: float) -> None:
        """Move the clock forward, or back by a negative number."""
        self._shift += seconds
