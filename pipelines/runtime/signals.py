"""SIGINT and SIGTERM end a run in order, wherever they find it.

dlt swallows the first signal while it loads and then ends as if nothing had happened. So it loads
in a thread of its own, and the main thread, which gets the signals, waits for it.

Python handles a signal only between two steps of its own: a statement that waits in the server for
somebody else's lock may keep it from that for hours. So a thread hears of each signal too, and ends
the process when its time is over. The next run does it all again, as after any other kill.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from .exit_codes import signal_exit_code

_STOPPING = (signal.SIGINT, signal.SIGTERM)
_DRAIN_SECONDS = 8.0
_END_SECONDS = 9.0  # from a signal to the end; whoever sent it may kill after ten
_REPORT_SECONDS = 0.5
ExitReporter = Callable[[str, int], None]
_reporters: list[ExitReporter] = []


class Stopped(BaseException):
    """A signal asked the process to end.

    Args:
        signum: Which one.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
        self.exit_code = signal_exit_code(signum)


def _stop(signum: int, _frame: FrameType | None) -> None:
    raise Stopped(signum)


@contextmanager
def on_forced_exit(report: ExitReporter) -> Iterator[None]:
    """Have the end told that no exception tells, since the main thread cannot raise one.

    Args:
        report: Told in one line why the process ends, and its exit code.
    """
    _reporters.append(report)
    try:
        yield
    finally:
        _reporters.remove(report)


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Let SIGINT and SIGTERM raise ``Stopped`` in the main thread, and end the process in time."""
    with _watchdog():
        before = [signal.signal(number, _stop) for number in _STOPPING]
        try:
            yield
        finally:
            for number, handler in zip(_STOPPING, before, strict=True):
                signal.signal(number, handler)


@contextmanager
def _watchdog() -> Iterator[None]:
    """Have a thread see to it that the process ends some seconds after a signal."""
    receiver, wakeup = socket.socketpair()
    wakeup.setblocking(False)
    ended = threading.Event()
    thread = threading.Thread(target=_watch, args=(receiver, ended), name="signals", daemon=True)
    thread.start()
    before = signal.set_wakeup_fd(wakeup.fileno(), warn_on_full_buffer=False)
    try:
        yield
    finally:
        ended.set()
        signal.set_wakeup_fd(before)
        wakeup.close()  # the thread reads its end
        thread.join()
        receiver.close()


def _watch(receiver: socket.socket, ended: threading.Event) -> None:
    while received := receiver.recv(1):
        signum = received[0]
        if signum in _STOPPING and not ended.wait(_END_SECONDS):
            _force_exit(signum)


def _force_exit(signum: int) -> None:
    """End the process, whatever its main thread is at."""
    code = signal_exit_code(signum)
    line = (
        f"stopped by {signal.Signals(signum).name}; what was going on did not end in "
        f"{_END_SECONDS:.0f} s and was left as it was, the next run does it again"
    )

    def report() -> None:
        for reporter in _reporters[-1:]:
            reporter(line, code)

    # In a thread of its own: the main one may hold what it needs, and be stuck.
    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    thread.join(_REPORT_SECONDS)
    os._exit(code)


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
        _stop_dlt(stopped.signum)
        thread.join(_DRAIN_SECONDS)
        raise
    if errors:
        raise errors[0]


def _stop_dlt(signum: int) -> None:
    """Have dlt start no further job, as if it had received the signal itself."""
    from dlt.common.runtime import signals as dlt_signals  # whoever loads has imported dlt

    dlt_signals.set_received_signal(signum)
