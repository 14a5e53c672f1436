"""Pushes that die at a chosen line, as if the power had been cut.

All code that has an effect, or runs between two effects, is traced. Each push counts the lines it
ran of each function, so that a test knows at which lines a push can die.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from types import CodeType, FrameType
from typing import Any

from pipelines.writeback.push import push
from pipelines.writeback.push_session import PushSession
from sources.kantata import KantataReader
from sources.kantata.api.writer import KantataWriter
from tests.support.kill_points import DIED, code_of
from tests.support.processes import start_function
from tests.support.writing_desk import Desk
from warehouse.ledger.connection import connect_ledger
from warehouse.ledger.push_lock import push_lock

# Every function of their modules is traced; these must be reached.
MODULES = (
    "pipelines.writeback.push:Pusher.__init__",
    "pipelines.writeback.push:Pusher._attempt",
    "pipelines.writeback.push:Pusher._execute",
    "pipelines.writeback.push:Pusher._is_stale",
    "pipelines.writeback.push:Pusher._mark_sending",
    "pipelines.writeback.push:Pusher._plan",
    "pipelines.writeback.push:Pusher._trusted",
    "pipelines.writeback.push:Pusher._push_all",
    "pipelines.writeback.push:Pusher._write",
    "pipelines.writeback.push:Pusher.run",
    "pipelines.writeback.delivery:Delivery.__init__",
    "pipelines.writeback.delivery:Delivery._record_answer",
    "pipelines.writeback.delivery:Delivery._request_id",
    "pipelines.writeback.delivery:Delivery.finish",
    "pipelines.writeback.delivery:Delivery.send",
    "pipelines.writeback.delivery:Delivery.wait_turn",
    "pipelines.writeback.delivery:_done",
    "pipelines.writeback.delivery:_send_alone",
    "pipelines.writeback.delivery:_send_once",
    "pipelines.writeback.delivery:result_of",
    "pipelines.writeback.failure_streak:FailureStreak.__init__",
    "pipelines.writeback.failure_streak:FailureStreak.add",
    "pipelines.writeback.failure_streak:FailureStreak.end",
    "pipelines.writeback.push:_describe",
    "pipelines.writeback.push:push",
    "pipelines.writeback.push_session:PushSession.__init__",
    "pipelines.writeback.push_session:PushSession.account_state",
    "pipelines.writeback.push_session:PushSession.changes",
    "pipelines.writeback.push_session:PushSession.finish",
    "pipelines.writeback.push_session:PushSession.transition",
    "pipelines.writeback.push_session:PushSession.now",
    "pipelines.writeback.push_session:PushSession.plan",
    "pipelines.writeback.push_session:PushSession.open",
    "pipelines.writeback.push_session:PushSession.recording_errors",
    "pipelines.writeback.push_session:chunks",
    "pipelines.writeback.reconcile:Reconciler.__init__",
    "pipelines.writeback.reconcile:Reconciler._due",
    "pipelines.writeback.reconcile:Reconciler._mark_interrupted",
    "pipelines.writeback.reconcile:Reconciler.settle",
    "pipelines.writeback.verify:_mismatch",
    "pipelines.writeback.verify:verify",
    "sources.kantata.api.writer:KantataWriter._respond",
    "sources.kantata.api.writer:KantataWriter._send",
    "sources.kantata.api.writer:KantataWriter.create",
    "sources.kantata.api.writer:KantataWriter.delete",
    "sources.kantata.api.writer:KantataWriter.update",
    "sources.kantata.api.writer:KantataWriter.wait_turn",
    "sources.kantata.api.writer:_new_milestone",
    "sources.kantata.api.writer:_wire_fields",
    "pipelines.writeback.batches:first_batch",
    "pipelines.writeback.batches:next_changes",
)
# Of these modules only these functions are traced; they must be reached, too.
FUNCTIONS = (
    "warehouse.ledger.store:Ledger.transition",
    "warehouse.ledger.store:Ledger.mark_sending",
    "warehouse.ledger.store:Ledger._add_event",
    "warehouse.ledger.event_log:add_event",
    "warehouse.ledger.verification:untrusted_changes",
    "warehouse.ledger.push_lock:push_lock",
    "sources.kantata.api.responses:write_result",
    "sources.kantata.api.responses:created_id",
    "sources.kantata.api.responses:write_without_response",
)
# Functions that a push reaches only if it finds a change with an unknown outcome.
OF_UNKNOWNS = (
    "pipelines.writeback.push_session:PushSession.why_too_early",
    "pipelines.writeback.reconcile:Reconciler._settle_all",
    "pipelines.writeback.reconcile:Reconciler._with_possible_time",
)
# Functions that only a push in batches reaches.
OF_BATCHES = (
    "pipelines.writeback.delivery:Delivery._record_refused_with_others",
    "sources.kantata.api.batch_answer:_created",
    "sources.kantata.api.batch_answer:_named",
    "sources.kantata.api.batch_answer:_references",
    "sources.kantata.api.batch_answer:_refused",
    "sources.kantata.api.batch_answer:batch_answer",
    "sources.kantata.api.writer:KantataWriter.create_batch",
)
_TRACED = {name.partition(":")[0] for name in (*MODULES, *OF_BATCHES)}


@dataclass(frozen=True)
class Trial:
    """How a push went.

    Args:
        died: Whether it reached the line.
        lines: How many lines it ran, by function as ``module:qualname``.
        last: The last traced function it ran.
    """

    died: bool
    lines: Counter[str]
    last: str


class _Trace:
    """Counts lines, and ends the process at one of them."""

    def __init__(self, line: int) -> None:
        self.line = line
        self.lines: Counter[str] = Counter()
        self.last = ""
        self.functions = {code_of(name): name for name in FUNCTIONS}

    def call(self, frame: FrameType, _event: str, _arg: object) -> Any:  # noqa: ANN401 - sys.settrace's own
        return self.count if self._name(frame) else None

    def count(self, frame: FrameType, event: str, _arg: object) -> Any:  # noqa: ANN401 - the same
        if event == "line":
            self.last = self._name(frame)
            self.lines[self.last] += 1
            if self.lines.total() == self.line:
                self.report()
                os._exit(DIED)
        return self.count

    def _name(self, frame: FrameType) -> str:
        """The name of the function, if it is traced."""
        code: CodeType = frame.f_code
        module = frame.f_globals.get("__name__", "")
        if module in _TRACED:
            return f"{module}:{code.co_qualname}"
        return self.functions.get(code, "")

    def report(self) -> None:
        """Write what was counted to standard output."""
        os.write(1, json.dumps([self.lines, self.last]).encode())


def push_until(ledger_url: str, url: str, token: str, line: int, batch_creates: int) -> None:
    """Push once until the line is reached, then die; runs in a child process."""
    trace = _Trace(line)
    with connect_ledger(ledger_url, lambda: datetime.now(UTC)) as ledger:
        reader = KantataReader(url, token, 0.0, 0.001)
        writer = KantataWriter(url, token, reader.pace)
        threading.settrace(trace.call)
        sys.settrace(trace.call)
        with push_lock(ledger):
            session = PushSession(ledger, reader, timedelta())
            push(session, writer, 1000, batch_creates=batch_creates)
        sys.settrace(None)
    trace.report()


def killed(desk: Desk, line: int) -> Trial:
    """Push in a process that dies at this line; 0 means that it does not die."""
    arguments = (desk.url, desk.sandbox.url, desk.sandbox.token, line, desk.batch_creates)
    with start_function("tests.support.killed_push:push_until", *arguments) as process:
        out, err = process.communicate()
    assert process.returncode in (0, DIED), err[-2_000:]
    lines, last = json.loads(out)
    return Trial(process.returncode == DIED, Counter(lines), last)
