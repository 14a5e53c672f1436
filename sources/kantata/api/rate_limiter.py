"""Delays requests of a run: to the pace that Kantata accepts, and after a 429."""

from __future__ import annotations

import threading
import time

from ..errors import KantataUnavailable
from .pace import PaceController

THROTTLED = 429


class RateLimiter:
    """Delays requests so that they never exceed a rate; a 429 delays all of them.

    Args:
        requests_per_second: The greatest rate; 0 is no limit, until Kantata refuses one with 429.
    """

    def __init__(self, requests_per_second: float) -> None:
        self._controller = PaceController(requests_per_second)
        self._next_turn = 0.0
        self._lock = threading.Lock()
        self._stopped = threading.Event()

    def wait(self) -> None:
        """Wait for this request's turn by the rate limit.

        Raises:
            KantataUnavailable: If reading is stopped meanwhile.
        """
        with self._lock:
            now = time.monotonic()
            turn = max(now, self._next_turn)
            pace = self._controller.pace(turn)
            self._next_turn = turn + (1 / pace if pace else 0.0)
        self.sleep(turn - now)

    def record(self, status: int, sent_at: float) -> None:
        """Record the answer to a request, by which the rate limiter finds its rate.

        Args:
            status: The HTTP status.
            sent_at: When the request was sent, in seconds of the monotonic clock.
        """
        with self._lock:
            now = time.monotonic()
            if status == THROTTLED:
                self._controller.refuse(sent_at, now)
            else:
                self._controller.accept(sent_at, now)

    def hold(self, seconds: float) -> None:
        """Delay all requests of the rate limiter by this many seconds."""
        with self._lock:
            self._next_turn = max(self._next_turn, time.monotonic() + seconds)
            self._controller.pause(self._next_turn)

    def sleep(self, seconds: float) -> None:
        """Sleep for this many seconds, unless the rate limiter is stopped.

        Raises:
            KantataUnavailable: If reading is stopped meanwhile.
        """
        if self._stopped.wait(seconds) if seconds > 0 else self._stopped.is_set():
            raise KantataUnavailable("reading was stopped")

    def stop(self) -> None:
        """Stop the rate limiter: wake all sleeping requests, and let none start any more."""
        self._stopped.set()
