"""Compare the pace that a reader finds with the limit of a server that throttles.

Limits of 5, 10, 20 and 50 requests a second, with and without Retry-After.
Run with ``python -m tests.benchmarks.pace``.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

from sources.kantata import KantataReader
from sources.kantata.errors import KantataError
from sources.kantata_sandbox import Sandbox
from sources.kantata_sandbox.rate_limit import RateLimit

LIMITS = (5, 10, 20, 50)
IN_FLIGHT = 4
AT_ONCE = 2  # servers
FIRST, THEN = 30, 60  # seconds
LATENCY_MS = 20


def _read(reader: KantataReader, until: float, failures: list[KantataError]) -> None:
    """Read small pages one after another."""
    while time.monotonic() < until:
        try:
            reader.page("currencies", {"per_page": 1})
        except KantataError as error:
            failures.append(error)


def measure(limit: RateLimit) -> str:
    """Return a line with the rate that a reader reached."""
    failures: list[KantataError] = []
    with Sandbox(0, latency_ms=LATENCY_MS) as sandbox:
        sandbox.limit_rate(limit)
        reader = KantataReader(sandbox.url, sandbox.token)
        until = time.monotonic() + FIRST + THEN
        arguments = (reader, until, failures)
        threads = [threading.Thread(target=_read, args=arguments) for _ in range(IN_FLIGHT)]
        for thread in threads:
            thread.start()
        time.sleep(FIRST)
        early = limit.accepted
        for thread in threads:
            thread.join()
    first, then = early / FIRST, (limit.accepted - early) / THEN
    return (
        f"limit {limit.requests:2} a second, {'with' if limit.says_when else 'without'} "
        f"Retry-After: {first:.1f} a second in {FIRST} s ({first / limit.requests:.0%}), "
        f"then {then:.1f} ({then / limit.requests:.0%}); {limit.refused} refused, "
        f"{len(failures)} given up"
    )


def main() -> None:
    """Print the rate reached for each limit."""
    limits = [RateLimit(requests=n, says_when=says) for says in (True, False) for n in LIMITS]
    with ThreadPoolExecutor(AT_ONCE) as pool:
        for line in pool.map(measure, limits):
            print(line)


if __name__ == "__main__":
    main()
