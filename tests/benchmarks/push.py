"""Time a push of a thousand approved updates against its requests sent one after another.

Run with ``python -m tests.benchmarks.push``.
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


def main() -> None:
    """Print the time of the push, and the time that its requests need."""
    with tempfile.TemporaryDirectory() as folder, Sandbox(0, latency_ms=LATENCY_MS) as sandbox:
        desk = Desk(sandbox, f"sqlite:///{Path(folder) / 'ledger.sqlite'}")
        drafts = [desk.draft(Action.UPDATE) for _ in range(CHANGES)]
        with desk.ledger() as ledger:
            for change_id in ledger.propose(drafts):
                ledger.approve(ledger.change(change_id), "bob")
        began = time.perf_counter()
        result = desk.push()
        took = time.perf_counter() - began
        assert result.exit_code == 0
        assert len(result.changes) == CHANGES
        sent = Counter(request.method for request in sandbox.requests)
        allowed = (CHANGES + CHANGES / 20) * LATENCY_MS / 1000
        print(f"{CHANGES:,} updates with {LATENCY_MS} ms of latency: {took:.1f} s, {dict(sent)}")
        print(
            f"(writes + reads) x latency: {allowed:.1f} s; ratio {took / allowed:.2f}, target 1.2"
        )


if __name__ == "__main__":
    main()
