"""The pace that finds itself, against servers with limits, on a simulated clock."""

from __future__ import annotations

import heapq
import random
from collections import deque

import pytest

from sources.kantata.api.pace import PaceController

WORKERS = 4
LATENCY = 0.05  # seconds
JITTER = 0.03  # seconds
WAIT = 2.5  # seconds: the pause after a 429 without Retry-After


class Server:
    """A server that accepts so many requests in each window of some seconds."""

    def __init__(self, limit: float, window: float, *, sliding: bool, says_when: bool) -> None:
        self.limit, self.window, self.sliding, self.says_when = limit, window, sliding, says_when
        self.accepted: list[float] = []
        self.refused: list[float] = []
        self._recent: deque[float] = deque()

    def serves(self, now: float) -> float:
        """Serve a request: 0, or the seconds to wait if it is refused."""
        begin = now - self.window if self.sliding else now // self.window * self.window
        while self._recent and self._recent[0] < begin:
            self._recent.popleft()
        if len(self._recent) < self.limit * self.window:
            self._recent.append(now)
            self.accepted.append(now)
            return 0.0
        self.refused.append(now)
        first = self._recent[0] if self.sliding else begin
        return first + self.window - now if self.says_when else WAIT

    def rate(self, begin: float, end: float) -> float:
        """How many requests a second were accepted in a time."""
        return sum(begin <= at < end for at in self.accepted) / (end - begin)


def run(server: Server, until: float, most: float = 0.0, start: float = 0.0) -> PaceController:
    """Send requests as the reader does: four at a time, and all pause after a 429."""
    controller, next_turn = PaceController(most), start
    free, delays = [start] * WORKERS, random.Random(1)
    answers: list[tuple[float, float, float]] = []
    while True:
        now = heapq.heappop(free)
        turn = max(now, next_turn)
        while answers and answers[0][0] <= turn:
            next_turn = max(next_turn, _answered(controller, *heapq.heappop(answers)))
            turn = max(now, next_turn)
        if turn >= until:
            return controller
        pace = controller.pace(turn)
        next_turn = turn + (1 / pace if pace else 0.0)
        heapq.heappush(
            answers,
            (turn + LATENCY, turn, server.serves(turn + LATENCY / 2 + delays.uniform(0, JITTER))),
        )
        heapq.heappush(free, turn + LATENCY)


def _answered(controller: PaceController, now: float, sent_at: float, wait: float) -> float:
    """Pass an answer to the controller; return until when all requests pause."""
    if not wait:
        controller.accept(sent_at, now)
        return 0.0
    controller.refuse(sent_at, now)
    controller.pause(now + wait)
    return now + wait


@pytest.mark.parametrize("says_when", [True, False], ids=["says when", "says nothing"])
@pytest.mark.parametrize("sliding", [True, False], ids=["sliding", "fixed"])
@pytest.mark.parametrize(("limit", "window"), [(5, 1), (10, 1), (20, 1), (50, 1), (10, 10)])
def test_it_finds_the_limit(limit: float, window: float, sliding: bool, says_when: bool) -> None:
    """After two minutes, the pace is within 10 % of the limit, with few refusals."""
    server = Server(limit, window, sliding=sliding, says_when=says_when)
    run(server, until=240)
    assert 0.9 * limit <= server.rate(120, 240) <= limit
    assert len(server.refused) <= (12 if window == 1 else 50)


def test_without_a_refusal_there_is_no_pace() -> None:
    """An account that does not throttle is read as fast as it answers."""
    server = Server(1_000, 1, sliding=True, says_when=True)
    assert run(server, until=30).pace(30) == 0
    assert server.rate(0, 30) == pytest.approx(WORKERS / LATENCY, rel=0.01)


def test_a_configured_pace_is_never_exceeded() -> None:
    """Neither before a refusal nor after one, however long none comes."""
    server = Server(1_000, 1, sliding=True, says_when=True)
    assert run(server, until=60, most=7).pace(60) == 7
    assert max(server.rate(second, second + 1) for second in range(60)) <= 8
    controller = PaceController(7)
    controller.refuse(0, 0)
    assert controller.pace(1_000_000) == 7
    assert PaceController(3).pace(0) == 3


def test_refusals_of_one_moment_halve_the_pace_once() -> None:
    """Those in flight, and those before another request is accepted, count no more."""
    controller = PaceController()
    for _ in range(100):
        controller.accept(0.0, 0.5)
    controller.refuse(0.4, 0.6)
    assert controller.pace(0.6) == 50
    controller.refuse(0.5, 0.7)  # it was in flight
    controller.pause(3.0)
    controller.refuse(3.0, 3.1)  # nothing was accepted in between
    controller.pause(6.0)
    assert controller.pace(6.0) == 50
    controller.accept(6.0, 6.1)
    controller.refuse(6.1, 6.2)
    assert controller.pace(6.2) == pytest.approx(15, rel=0.05)


def test_it_rises_again_when_the_limit_does() -> None:
    """A limit that is ten times as high is used within minutes."""
    controller = PaceController()
    controller.refuse(0, 0)
    assert controller.pace(1) < 20
    assert controller.pace(600) > 200


def test_one_refusal_at_the_start_is_no_brake() -> None:
    """A request that is refused although there were none before costs half the first estimate."""
    controller = PaceController()
    controller.refuse(0, 0)
    assert controller.pace(0) == 10
    assert controller.pace(1) == pytest.approx(19, rel=0.01)
