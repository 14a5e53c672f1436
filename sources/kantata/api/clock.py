"""The two clocks of a run: that of this machine, for observations, and Kantata's to correct it.

A machine's clock can be wrong by years, and a version keeps its time for good. The dates of
Kantata's responses are exact to a second only, so they correct the machine's clock if both differ
by more. A single date may be wrong as well, such as that of one server of many with a wrong clock:
so the median of the latest ones counts.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from datetime import UTC, datetime, timedelta
from statistics import median_low

_MICROSECOND = timedelta(microseconds=1)
_TOLERANCE = 60_000_000  # microseconds
_LATEST = 9  # responses


class _Differences:
    """How far the dates of the latest responses are ahead of another clock."""

    def __init__(self) -> None:
        self._latest: deque[int] = deque(maxlen=_LATEST)

    def add(self, difference: int) -> None:
        """Add the difference of a response, in microseconds."""
        self._latest.append(difference)

    def median(self) -> int:
        """Return the median of the differences; there must be one."""
        return median_low(self._latest)


class ObservationClock:
    """The clock of observations: its times always increase, whatever the machine's clock does."""

    def __init__(self) -> None:
        self._start, self._zero = time.time_ns() // 1000, time.monotonic_ns() // 1000
        self._differences = _Differences()
        self._correction = 0
        self._last = 0
        self._lock = threading.Lock()

    def correct(self, date: datetime | None) -> None:
        """Correct the clock by the date of a response that just came, if they differ much."""
        if date is None:
            return
        with self._lock:
            self._differences.add(int(date.timestamp()) * 1_000_000 - self._machine())
            difference = self._differences.median()
            if abs(difference - self._correction) > _TOLERANCE:
                self._correction = difference

    def next(self) -> datetime:
        """Return the clock's time now in UTC, later than every time it returned before."""
        with self._lock:
            self._last = max(self._machine() + self._correction, self._last + 1)
            seconds, micros = divmod(self._last, 1_000_000)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)

    def _machine(self) -> int:
        """Return the time by the machine's clock, not corrected, in microseconds."""
        return self._start + time.monotonic_ns() // 1000 - self._zero


class ServerClock:
    """Kantata's clock, by the Date headers of its responses."""

    def __init__(self) -> None:
        self._first: tuple[datetime, float, datetime] | None = None
        self._differences = _Differences()
        self._lock = threading.Lock()

    def set(self, date: datetime | None) -> None:
        """Set Kantata's clock by the date of a response that just came; None changes nothing."""
        if date is None:
            return
        with self._lock:
            if self._first is None:
                self._first = date, time.monotonic(), datetime.now(UTC)
            self._differences.add((date - self._after_first(self._first)) // _MICROSECOND)

    @property
    def first(self) -> datetime | None:
        """The date of the first response, corrected if it was wrong; None before it."""
        with self._lock:
            if self._first is None:
                return None
            date, _, _ = self._first
            difference = self._differences.median() * _MICROSECOND
        return date if abs(difference) <= _TOLERANCE * _MICROSECOND else date + difference

    @property
    def machine_is_ahead(self) -> timedelta | None:
        """By how much this machine's clock was ahead of the first response; None before it."""
        first = self.first
        return None if self._first is None or first is None else self._first[2] - first

    def now(self) -> datetime | None:
        """Return the time now by Kantata's clock, UTC; None if no response stated one."""
        with self._lock:
            if self._first is None:
                return None
            difference = self._differences.median() * _MICROSECOND
            return self._after_first(self._first) + difference

    def _after_first(self, first: tuple[datetime, float, datetime]) -> datetime:
        """Return the date of the first response, and the time that has passed since then."""
        date, received_at, _ = first
        return date + timedelta(seconds=time.monotonic() - received_at)
