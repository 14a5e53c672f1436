"""A limit on requests, as Kantata has one whose numbers are unknown (API.md#rate-limits)."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from threading import Lock

from .responses import ApiResponse, Problem, errors


@dataclass(kw_only=True)
class RateLimit:
    """A limit of requests per time; every request over it is refused with 429.

    Attributes:
        requests: how many are accepted in each window.
        seconds: the length of a window.
        is_bucket: the accepted requests become available again one by one, as tokens in a bucket;
            else all at once, when the next window begins.
        says_when: a refusal has a Retry-After header, in whole seconds.
        clock: the time in seconds.

    """

    requests: int
    seconds: float = 1.0
    is_bucket: bool = False
    says_when: bool = True
    clock: Callable[[], float] = time.monotonic
    accepted: int = field(default=0, init=False)
    refused: int = field(default=0, init=False)
    _left: float = field(default=0.0, init=False)
    _at: float = field(default=float("-inf"), init=False)
    _lock: Lock = field(default_factory=Lock, init=False, repr=False)

    def refusal(self) -> ApiResponse | None:
        """Count a request; return the response that refuses it, or None if it is accepted."""
        with self._lock:
            now = self.clock()
            self._refill(now)
            if self._left >= 1:
                self._left -= 1
                self.accepted += 1
                return None
            self.refused += 1
            wait = max(1, math.ceil(self._until_next(now)))
        answer = errors(429, Problem("Too many requests", type="system"))
        headers = {"retry-after": str(wait)} if self.says_when else {}
        return ApiResponse(429, answer.body, headers)

    def _refill(self, now: float) -> None:
        """Add what became available again since the last request."""
        if self.is_bucket:
            gained = (now - self._at) * self.requests / self.seconds
            self._left, self._at = min(self.requests, self._left + gained), now
        elif now - self._at >= self.seconds:
            self._left, self._at = self.requests, now // self.seconds * self.seconds

    def _until_next(self, now: float) -> float:
        """Return the seconds until a request is accepted again."""
        if self.is_bucket:
            return (1 - self._left) * self.seconds / self.requests
        return self._at + self.seconds - now
