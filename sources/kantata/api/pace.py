"""The pace of requests that finds itself: pure, with the time as an argument.

Nobody knows Kantata's limits (API.md#rate-limits), so there is no pace until Kantata refuses a
request with 429. Then the pace is halved. It rises in equal steps: fast to just below the refused
pace, slowly to just above it, which takes minutes, and faster again once that was not refused.
"""

from __future__ import annotations

from collections import deque

OBSERVED = 10.0  # seconds: in which accepted requests are counted
# Other clients may cause the refusal of a run's first requests, which says nothing of its pace.
LOWEST_FIRST_ESTIMATE = 20.0  # requests a second
LOWEST = 0.5  # requests a second
SAFE, EXCEEDED = 0.95, 1.1  # of the refused pace
RISE = 0.5  # a second, as a share of the refused pace: up to what is safe
# Seconds from what is safe to what exceeds the refused pace: the surer that one is, the longer.
SHORTEST, LONGEST = 45.0, 360.0
RISE_AGAIN = 0.05  # a second, as a share of the refused pace: above
# A pace that is refused so soon twice, though all its requests were accepted until then, uses up a
# limit that counts over a longer time.
SOON = 6.0  # seconds
ALL = 0.9  # of the pace
# A pace of which most was accepted was only just too great, whatever the exact number.
MOST_OF_IT = 0.7


class PaceController:
    """Finds the greatest pace that Kantata accepts: additive increase, halving on 429.

    Args:
        most: The greatest pace, in requests a second; 0 is no limit.
    """

    def __init__(self, most: float = 0.0) -> None:
        self._most = most
        self._accepted: deque[float] = deque()
        self._pace = 0.0  # at self._since; 0 is no limit
        self._since = 0.0
        self._patience = SHORTEST
        self._used_up = 0  # refusals in a row
        self._safe = self._exceeded = self._refused_pace = 0.0
        self._cut_at = self._resumed_at = float("-inf")
        self._accepted_since_cut = True

    def pace(self, now: float) -> float:
        """Return the pace in requests a second; 0 is no limit.

        Args:
            now: Seconds of any clock that only goes forward.
        """
        self._rise(now)
        if not self._most or not self._pace:
            return self._pace or self._most
        return min(self._pace, self._most)

    def accept(self, sent_at: float, now: float) -> None:
        """Count a request, sent at some time, that Kantata did not refuse for its pace."""
        self._accepted_since_cut |= sent_at >= self._cut_at
        self._accepted.append(now)
        while self._accepted[0] <= now - OBSERVED:
            self._accepted.popleft()

    def refuse(self, sent_at: float, now: float) -> None:
        """Halve the pace, since Kantata refused a request with 429.

        Requests that are refused for the same reason halve it once: those sent before it was
        halved, and those sent before another one was accepted.

        Args:
            sent_at: When the request was sent.
            now: The time.
        """
        if sent_at >= self._cut_at and self._accepted_since_cut:
            self._cut(now)

    def pause(self, until: float) -> None:
        """Record that no request is sent until then, so the pace does not rise either."""
        self._since = self._resumed_at = max(self._since, until)

    def _cut(self, now: float) -> None:
        """Halve the pace, and set how it rises again."""
        accepted, pace = self._most_accepted(), self.pace(now)
        is_soon = now - self._resumed_at < SOON
        if not self._pace:
            refused = max(accepted, LOWEST_FIRST_ESTIMATE)
        elif accepted > MOST_OF_IT * pace and not is_soon:
            refused = pace
        else:
            refused = min(pace, max(accepted, pace / 2))
        self._patience = SHORTEST if is_soon else min(2 * self._patience, LONGEST)
        self._used_up = self._used_up + 1 if is_soon and accepted >= ALL * pace > 0 else 0
        uses_up = self._used_up > 1
        self._safe = refused * (0.5 if uses_up else SAFE)
        self._exceeded = refused * (1 if uses_up else EXCEEDED)
        self._refused_pace, self._pace = refused, max(refused / 2, LOWEST)
        self._cut_at = self._since = now
        self._accepted_since_cut = False
        self._accepted.clear()

    def _most_accepted(self) -> float:
        """Return how many requests a second were accepted, in the best second since the last cut.

        Not in the last one: if this machine was busy, that has fewer.
        """
        most, second = 0, deque[float]()
        for at in self._accepted:
            second.append(at)
            while second[0] <= at - 1:
                second.popleft()
            most = max(most, len(second))
        return float(most)

    def _rise(self, now: float) -> None:
        """Raise the pace for the time that has passed since it was last set."""
        left = now - self._since
        if not self._pace or left <= 0:
            return
        for until, step in (
            (self._safe, RISE * self._refused_pace),
            (self._exceeded, (self._exceeded - self._safe) / self._patience),
            (float("inf"), RISE_AGAIN * self._refused_pace),
        ):
            if until > self._pace:
                takes = min(left, (until - self._pace) / step)
                self._pace += takes * step
                left -= takes
        self._since = now
