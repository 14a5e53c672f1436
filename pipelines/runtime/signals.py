"""End a run in order on SIGINT and SIGTERM.

dlt ignores the first signal while it loads and then ends as if none had come. So dlt loads in a
separate thread, and the main thread, which receives the signals, waits for it.

Python handles a signal only between two bytecodes: an SQL statement that waits for another
session's lock can delay that for hours. So a watchdog thread also receives each signal, and ends
the process when the time to end in order is over. The next run starts again from the beginning.
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
_END_SECONDS = 9.0  # from the signal to a forced exit: Docker and systemd kill after ten
_REPORT_SECONDS = 0.5
ExitReporter = Callable[[str, int], None]
_reporters: list[ExitReporter] = []


class Stopped(BaseException):
    """A signal stopped the process.

    Args:
        signum: The number of the signal.
    """

    def __init__(self, signum: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signum).name}")
        self.signum = signum
        self.exit_code = signal_exit_code(signum)


def _stop(signum: int, _frame: FrameType | None) -> None:
    """Handle a signal: raise ``Stopped``."""
    raise Stopped(signum)


@contextmanager
def on_forced_exit(report: ExitReporter) -> Iterator[None]:
    """Call a reporter before the signals' watchdog exits the process without an exception.

    Args:
        report: Called with one line and the exit code.
    """
    _reporters.append(report)
    try:
        yield
    finally:
        _reporters.remove(report)


@contextmanager
def stop_on_signals() -> Iterator[None]:
    """Raise ``Stopped`` in the main thread on SIGINT and SIGTERM, and exit in time."""
    with _watchdog():
        before = [signal.signal(number, _stop) for number in _STOPPING]
        try:
            yield
        finally:
            for number, handler in zip(_STOPPING, before, strict=True):
                signal.signal(number, handler)


@contextmanager
def _watchdog() -> Iterator[None]:
    """Run a thread that exits the process some seconds after a signal."""
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
    """Wait for signals in the watchdog's thread; exit if the process does not end in time."""
    while received := receiver.recv(1):
        signum = received[0]
        if signum in _STOPPING and not ended.wait(_END_SECONDS):
            _force_exit(signum)


def _force_exit(signum: int) -> None:
    """Exit the process after a signal, whatever its main thread is doing."""
    code = signal_exit_code(signum)
    line = (
        f"stopped by {signal.Signals(signum).name}: the current step did not end within "
        f"{_END_SECONDS:.0f} s and was aborted; the next run repeats it"
    )

    def report() -> None:
        for reporter in _reporters[-1:]:
            reporter(line, code)

    # In a thread: the main thread may hold a lock of the output and be stuck.
    thread = threading.Thread(target=report, daemon=True)
    thread.start()
    thread.join(_REPORT_SECONDS)
    os._exit(code)


def in_thread(work: Callable[[], object], on_stop: Callable[[int], object] | None = None) -> None:
    """Do work in a thread that receives no signals; when stopped, give it some seconds to end.

    Args:
        work: The work.
        on_stop: Called with the signal, so that the work ends; None for work of dlt.

    Raises:
        Stopped: If a signal came, even if the work succeeded.
        BaseException: Any error of the work.
    """
    errors: list[BaseException] = []
    done = threading.Event()  # Thread.join takes a thread for ended if a signal interrupts it

    def run() -> None:
        try:
            work()
        except BaseException as error:  # raised again in the main thread
            errors.append(error)
        finally:
            done.set()

    threading.Thread(target=run, name="load", daemon=True).start()
    try:
        done.wait()
    except Stopped as stopped:
        (on_stop or _stop_dlt)(stopped.signum)
        done.wait(_DRAIN_SECONDS)
        raise
    if errors:
        raise errors[0]


def _stop_dlt(signum: int) -> None:
    """Keep dlt from starting another load job after a signal."""
    from dlt.common.runtime import signals as dlt_signals  # here, since --help needs no dlt

    dlt_signals.set_received_signal(signum)
