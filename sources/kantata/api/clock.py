"""The two clocks of a run: that of this machine, for observations, and Kantata's to correct it.

A machine's clock can be wrong by years, and a version keeps its time for good. The dates of
Kantata's responses are exact to a second only, so they correct the machine's clock if both differ
by more.
"""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime, timedelta

_TOLERANCE = 60_000_000  # microseconds


class ObservationClock:
    """The clock of observations: its times always increase, whatever the machine's clock does."""

    def __init__(self) -> None:
        self._start, self._zero = time.time_ns() // 1000, time.monotonic_ns() // 1000
        self._last = 0
        self._lock = threading.Lock()

    def correct(self, date: datetime | None) -> None:
        """Correct the clock by the date of a response that just came, if they differ much."""
        if date is None:
            return
        with self._lock:
            now = self._start + time.monotonic_ns() // 1000 - self._zero
            difference = int(date.timestamp()) * 1_000_000 - now
            if abs(difference) > _TOLERANCE:
                self._start += difference

    def next(self) -> datetime:
        """Return the clock's time now in UTC, later than every time it returned before."""
        with self._lock:
            now = self._start + time.monotonic_ns() // 1000 - self._zero
            self._last = max(now, self._last + 1)
            seconds, micros = divmod(self._last, 1_000_000)
        return datetime.fromtimestamp(seconds, UTC).replace(microsecond=micros)


class ServerClock:
    """Kantata's clock, by the Date headers of its responses.

    ``first`` is the date of the first response, and ``machine_is_ahead`` by how much this machine's
    clock was ahead of it; both are None before it.
    """

    def __init__(self) -> None:
        self.first: datetime | None = None
        self.machine_is_ahead: timedelta | None = None
        self._latest: tuple[datetime, float] | None = None
        self._lock = threading.Lock()

    def set(self, date: datetime | None) -> None:
        """Set Kantata's clock by the date of a response that just came; None changes nothing."""
        if date is None:
            return
        with self._lock:
            if self.first is None:
                self.first = date
                self.machine_is_ahead = datetime.now(UTC) - date
            self._latest = date, time.monotonic()

    def now(self) -> datetime | None:
        """Return the time now by Kantata's clock, UTC; None if no response stated one."""
        with self._lock:
            if self._latest is None:
                return None
            date, received_at = self._latest
        return date + timedelta(seconds=time.monotonic() - received_at)
