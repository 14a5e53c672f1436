"""Compare pages a second with four requests in flight and with one, at 50 ms of latency."""

from __future__ import annotations

import time

from sources.kantata import KantataReader
from sources.kantata.extract.scan import Scan
from tests.benchmarks.account import serving

MILESTONES = 40_000


def pages_a_second(url: str, token: str, in_flight: int) -> float:
    """Return how many pages a second a scan reads."""
    began, pages = time.perf_counter(), 0
    for _ in Scan(KantataReader(url, token), in_flight).pages():
        pages += 1
    return pages / (time.perf_counter() - began)


def main() -> None:
    """Print both rates and their ratio."""
    with serving(MILESTONES, latency_ms=50) as (url, token):
        one, four = (pages_a_second(url, token, in_flight) for in_flight in (1, 4))
    print(
        f"50 ms latency: {one:.1f} pages/s one by one, {four:.1f} with four in flight, "
        f"ratio {four / one:.2f}; target 3.50"
    )


if __name__ == "__main__":
    main()
