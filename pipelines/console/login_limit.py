"""The limit on attempts to log in, so that nobody can try many passwords."""

from __future__ import annotations

import time
from collections import deque
from threading import Lock

_WINDOW = 15 * 60.0  # seconds in which failures count
_FOR_NAME = 10  # failures with one name from one address
_FOR_ADDRESS = 30  # failures from one address
_MOST_KEYS = 10_000


class LoginLimit:
    """Counts failed attempts to log in, by address and by name at an address.

    A name alone is not locked: anybody could lock out an approver.
    """

    def __init__(self) -> None:
        self._failures: dict[tuple[str, str | None], deque[float]] = {}  # None: of any name
        self._lock = Lock()

    def seconds_to_wait(self, address: str, name: str) -> int:
        """Return the seconds until the next attempt to log in is allowed; 0 if it is now."""
        now = time.monotonic()
        with self._lock:
            waits = [
                self._wait((address, name), _FOR_NAME, now),
                self._wait((address, None), _FOR_ADDRESS, now),
            ]
        return max(waits)

    def _wait(self, key: tuple[str, str | None], most: int, now: float) -> int:
        """Return how long a key of the limit must wait."""
        failures = self._failures.get(key)
        if failures is None:
            return 0
        while failures and failures[0] < now - _WINDOW:
            failures.popleft()
        if not failures:
            del self._failures[key]
        return 0 if len(failures) < most else int(failures[0] + _WINDOW - now) + 1

    def count_failure(self, address: str, name: str) -> None:
        """Count a failed attempt to log in."""
        with self._lock:
            if len(self._failures) > _MOST_KEYS:
                self._failures.clear()  # of so many addresses no count helps
            for key in ((address, name), (address, None)):
                self._failures.setdefault(key, deque()).append(time.monotonic())
