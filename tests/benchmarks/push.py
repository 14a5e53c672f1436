"""Time pushes of a thousand changes against their requests sent one after another.

Updates, creates one by one, and creates in batches. Run with ``python -m tests.benchmarks.push``.
"""

from __future__ import annotations

import tempfile
import time
from collections import Counter
from pathlib import Path

from sources.kantata_sandbox import Sandbox
from tests.support.writing_desk import Desk
from warehouse.ledger.change import Action

LATENCY_MS = 50
CHANGES = 1000


def push(action: Action, batch_creates: int = 1) -> None:
    """Push a thousand changes; print the time, and the time that its requests need."""
    with tempfile.TemporaryDirectory() as folder, Sandbox(0, latency_ms=LATENCY_MS) as sandbox:
        url = f"sqlite:///{Path(folder) / 'ledger.sqlite'}"
        desk = Desk(sandbox, url, batch_creates=batch_creates)
        drafts = [desk.draft(action) for _ in range(CHANGES)]
        with desk.ledger() as ledger, ledger.transaction():
            for change_id in ledger.propose(drafts):
                ledger.approve(ledger.change(change_id), "bob")
        began, before = time.perf_counter(), time.process_time()
        result = desk.push()
        took, cpu = time.perf_counter() - began, time.process_time() - before
        assert result.exit_code == 0
        assert len(result.changes) == CHANGES
        sent = Counter(request.method for request in sandbox.requests)
        writes = -(-CHANGES // batch_creates)
        allowed = (writes + CHANGES / 20) * LATENCY_MS / 1000
        print(
            f"{CHANGES:,} {action}s, {batch_creates} a request, {LATENCY_MS} ms of latency: "
            f"{took:.1f} s ({cpu:.1f} CPU-seconds with the sandbox), {dict(sent)}; "
            f"({writes:,} writes + 50 reads) x latency: {allowed:.1f} s, ratio {took / allowed:.2f}"
        )


def main() -> None:
    """Print the time of each push."""
    push(Action.UPDATE)
    for batch_creates in (1, 20, 100):
        push(Action.CREATE, batch_creates)


if __name__ == "__main__":
    main()
