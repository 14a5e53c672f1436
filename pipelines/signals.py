"""SIGINT and SIGTERM end a run in order, wherever they find it.

dlt swallows the first signal while it loads and then ends as if nothing had happened. So it loads
in a thread of its own, and the main thread, which gets the signals, waits for it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from dlt.common.runtime import signals as dlt_signals

_DRAIN_SECONDS = 8.0


class Stopped(BaseException):
    """A signal asked the process to end.

    Args:
        signum: Which one.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.exit_code = 128 + signum


def _stop(signum: int, _frame: FrameType | None) -> None:
    raise Stopped(signum)


@contextmanager
def stoppable() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise ``Stopped`` in the main thread."""
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = [signal.signal(number, _stop) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, before, strict=True):
            signal.signal(number, handler)


def in_thread(work: Callable[[], object]) -> None:
    """Do work that must not see signals; when stopped, wait some seconds for it to end.

    Raises:
        Stopped: If a signal came, also when the work ended well.
        BaseException: Whatever the work raised.
    """
    errors: list[BaseException] = []

    def run() -> None:
        try:
            work()
        except BaseException as error:  # raised again where it can be handled
            errors.append(error)

    thread = threading.Thread(target=run, name="load", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(0.2)
    except Stopped as stopped:
        dlt_signals.set_received_signal(int(stopped.exit_code) - 128)  # start no further job
        thread.join(_DRAIN_SECONDS)
        raise
    if errors:
        raise errors[0]
