"""One wrong date among those of Kantata's responses moves no clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from sources.kantata.api.clock import ObservationClock, ServerClock

DAY = timedelta(days=1)
_SOON = timedelta(seconds=5)  # a test is not faster than that only if it is stopped meanwhile
DATES = {  # how far the dates of the responses are ahead of this machine, and what counts then
    "no response": ((), None),
    "one response": ((3 * DAY,), 3 * DAY),
    "a wrong date among others": ((DAY * 0, 33 * DAY, DAY * 0, DAY * 0), DAY * 0),
    "a wrong date in the past": ((DAY * 0, DAY * 0, -33 * DAY, DAY * 0), DAY * 0),
    "the last date is wrong": ((DAY * 0, DAY * 0, 33 * DAY), DAY * 0),
    "the first date is wrong": ((33 * DAY, DAY * 0, DAY * 0), DAY * 0),
    "this machine is wrong": ((-9 * DAY, -9 * DAY, -9 * DAY), -9 * DAY),
}


@pytest.mark.parametrize(("ahead", "expected"), DATES.values(), ids=DATES)
def test_kantatas_clock(ahead: tuple[timedelta, ...], expected: timedelta | None) -> None:
    """Its present and its first time follow most of the dates."""
    clock, now = ServerClock(), datetime.now(UTC)
    for each in ahead:
        clock.set(now + each)
    if expected is None:
        assert (clock.now(), clock.first, clock.machine_is_ahead) == (None, None, None)
        return
    found = clock.now(), clock.first
    assert all(time and abs(time - now - expected) < _SOON for time in found), found
    assert clock.machine_is_ahead is not None
    assert abs(clock.machine_is_ahead + expected) < _SOON


@pytest.mark.parametrize(("ahead", "expected"), DATES.values(), ids=DATES)
def test_clock_of_observations(ahead: tuple[timedelta, ...], expected: timedelta | None) -> None:
    """It is corrected by most of the dates, and never goes back."""
    clock, now = ObservationClock(), datetime.now(UTC)
    for each in ahead:
        clock.correct(now + each)
    assert abs(clock.next() - now - (expected or timedelta(0))) < _SOON
    times = [clock.next() for _ in range(3)]
    assert times == sorted(set(times))


def test_a_small_difference_corrects_nothing() -> None:
    """Dates are exact to a second only, and answers take time."""
    clock, now = ObservationClock(), datetime.now(UTC)
    for seconds in (30, -30, 50, 59):
        clock.correct(now + timedelta(seconds=seconds))
    assert abs(clock.next() - now) < _SOON


def test_the_first_time_is_not_later_than_the_first_date() -> None:
    """Later responses that came faster do not move it, so that no change is missed."""
    clock, now = ServerClock(), datetime.now(UTC)
    for seconds in (0, 5, 5, 5):
        clock.set(now + timedelta(seconds=seconds))
    assert clock.first == now
