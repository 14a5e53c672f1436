"""Pushes that die at a chosen line, each in a process forked from one that has all imported.

Reads a JSON object a line: ledger, url, token, reconcile_after, and the number of the traced line
to die at. Answers with the exit status: 99 if it died there, 0 if it ended before.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from datetime import UTC, datetime, timedelta
from types import FrameType
from typing import Any

from pipelines.push import Push
from sources.kantata import KantataReader
from sources.kantata.writer import KantataWriter
from warehouse.ledger import opened_ledger

# All that has an effect, or stands between two effects.
TRACED = ("pipelines/push.py", "pipelines/reconcile.py", "sources/kantata/writer.py")
TRACED_FUNCTIONS = {"warehouse/ledger.py": ("move", "sending", "pushing", "_note")}


def push(case: dict[str, Any]) -> None:
    """Push once, until the line."""
    left = case["line"]

    def trace(frame: FrameType, event: str, _arg: object) -> Any:  # noqa: ANN401 - sys.settrace's own
        nonlocal left
        code = frame.f_code
        if not code.co_filename.endswith(TRACED) and not any(
            code.co_filename.endswith(file) and code.co_name in functions
            for file, functions in TRACED_FUNCTIONS.items()
        ):
            return None
        if event == "line":
            left -= 1
            if left == 0:
                os._exit(99)
        return trace

    after = timedelta(seconds=case["reconcile_after"])
    with opened_ledger(case["ledger"], lambda: datetime.now(UTC)) as ledger:
        reader = KantataReader(case["url"], case["token"], 0.0, 0.001)
        writer = KantataWriter(case["url"], case["token"], reader.pace)
        threading.settrace(trace)
        sys.settrace(trace)
        with ledger.pushing():
            Push(ledger, reader, writer, after).push(1000)


def main() -> None:
    """Serve until stdin ends."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            try:
                push(json.loads(line))
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), flush=True)


if __name__ == "__main__":
    main()
