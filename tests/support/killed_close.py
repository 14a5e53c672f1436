"""Closes of a month that die at a chosen line, as if the power had been cut."""

from __future__ import annotations

import os
import sys
from types import FrameType
from typing import Any

from pipelines.config.targets import configured_target
from pipelines.ops.periods import close_period, parse_month
from pipelines.runtime.clock import utc_now
from tests.support.kill_points import DIED, code_of
from tests.support.processes import start_function

FUNCTIONS = (
    "pipelines.ops.periods:close_period",
    "pipelines.ops.periods:_check_open",
    "pipelines.ops.periods:_shown",
    "warehouse.ledger.closes:add_close",
    "warehouse.ledger.closes:next_number",
    "warehouse.ledger.closes:_insert",
    "warehouse.ledger.period:digest_of",
    "warehouse.ledger.store:Ledger.transaction",
)


def close_until(warehouse: str, month: str, line: int) -> None:
    """Close a month, and die at a line of the traced functions; runs in a child process."""
    codes, left = {code_of(name) for name in FUNCTIONS}, line

    def call(frame: FrameType, _event: str, _arg: object) -> Any:  # noqa: ANN401 - sys.settrace's own
        return count if frame.f_code in codes else None

    def count(_frame: FrameType, event: str, _arg: object) -> Any:  # noqa: ANN401 - the same
        nonlocal left
        if event == "line":
            left -= 1
            if left == 0:
                os._exit(DIED)
        return count

    sys.settrace(call)
    close_period(configured_target(warehouse), parse_month(month), "kim", utc_now)
    sys.settrace(None)
    print(line - left)


def close_that_dies(warehouse: str, month: str, line: int) -> int | None:
    """Close a month in a process that dies at a line; the lines it ran if it had fewer."""
    arguments = (warehouse, month, line)
    function = "tests.support.killed_close:close_until"
    with start_function(function, *arguments, env=os.environ) as process:
        out, err = process.communicate()
    assert process.returncode in (0, DIED), err[-2_000:]
    return None if process.returncode == DIED else int(out)
