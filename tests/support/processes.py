"""Processes that tests start: forked from a server that has imported everything, and real ones.

`run_milestones` and `start_milestones` do what `subprocess.run` and `Popen` would do with
`python -m pipelines.cli`, within milliseconds; `start_function` does so for any function. Tests of
the start itself (signals during imports, encodings, `--help`, memory) use `COMMAND`.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import IO, Any, Self

from tests.support.fork_server import Request

ROOT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "pipelines.cli"]
"""The command line as a process of its own; needs PYTHONPATH or the folder `ROOT`."""
_ENVIRONMENT = dict(os.environ)
_MAIN = "from tests.support.fork_server import main; main()"
# Python and libraries read these while they start, so a forked child cannot have other values.
FIXED = (
    "PYTHON", "LC_", "LANG", "COLUMNS", "LINES", "NO_COLOR", "FORCE_COLOR", "PY_COLORS", "TTY_",
    "TERMINAL_WIDTH", "GITHUB_ACTIONS", "TYPER_", "_TYPER", "DLT_",
)  # fmt: skip
# The allocators of Arrow and DuckDB would start threads, which a forked child would lack.
_NO_THREADS = dict.fromkeys(("JE_ARROW_MALLOC_CONF", "MALLOC_CONF"), "background_thread:false")


class Forked:
    """A forked process, with the interface of `subprocess.Popen`."""

    def __init__(self, args: list[str], end: int, out: int | None, err: int | None) -> None:
        self.args = args
        self.returncode: int | None = None
        self._end = os.fdopen(end, "rb", buffering=0)
        self.stdout = None if out is None else os.fdopen(out, encoding="utf-8")
        self.stderr = None if err is None else os.fdopen(err, encoding="utf-8")
        self.pid = self._number()

    def _number(self) -> int:
        if not (line := self._end.readline()):
            raise RuntimeError("the fork server ended")
        return int(line)

    def poll(self) -> int | None:
        """The exit code, if the process has ended."""
        if self.returncode is None and select.select([self._end], [], [], 0)[0]:
            self._reap()
        return self.returncode

    def _reap(self) -> int:
        self.returncode = self._number()
        self._end.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the process ends.

        Raises:
            TimeoutExpired: If the process does not end in time.
        """
        if self.returncode is not None:
            return self.returncode
        if not select.select([self._end], [], [], timeout)[0]:
            raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        return self._reap()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Read all its output, and wait until the process ends.

        Raises:
            TimeoutExpired: If the process does not end in time.
        """
        until = None if timeout is None else time.monotonic() + timeout
        texts: dict[IO[str] | None, str] = {None: ""}
        readers = [
            threading.Thread(target=_read, args=(file, texts), daemon=True)
            for file in (self.stdout, self.stderr)
            if file is not None and not file.closed
        ]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(None if until is None else max(until - time.monotonic(), 0))
            if reader.is_alive():
                raise subprocess.TimeoutExpired(self.args, timeout or 0.0)
        self.wait(None if until is None else max(until - time.monotonic(), 0))
        return texts.get(self.stdout, ""), texts.get(self.stderr, "")

    def send_signal(self, number: int) -> None:
        """Send a signal to the process, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """Kill the process, as if the power had been cut."""
        self.send_signal(signal.SIGKILL)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        """Kill the process unless it has ended, and close its files."""
        self.kill()
        self.wait()
        for file in (self.stdout, self.stderr):
            if file is not None:
                file.close()


def _read(file: IO[str], texts: dict[IO[str] | None, str]) -> None:
    with file:
        texts[file] = file.read()


class _Server:
    """The process that forks, and the socket for requests to it."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.control, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, str(theirs.fileno())],
                cwd=ROOT, env=_ENVIRONMENT | _NO_THREADS | {"PYTHONPATH": str(ROOT)},
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, pass_fds=[theirs.fileno()],
            )  # fmt: skip

    def send(self, request: Request, files: list[int]) -> None:
        """Request a child."""
        text = json.dumps(asdict(request)).encode()
        with self.lock:
            socket.send_fds(self.control, [len(text).to_bytes(4, "big")], files)
            self.control.sendall(text)

    def close(self) -> None:
        """End the server; its children continue."""
        self.control.close()
        self.process.wait()


@cache
def fork_server() -> _Server:
    """The only server of this process, which ends with the process."""
    server = _Server()
    atexit.register(server.close)
    return server


def end_fork_server() -> None:
    """End the server of this process, if there is one: without workers, its time is ours."""
    if fork_server.cache_info().currsize:
        fork_server().close()


def _checked(environment: Mapping[str, str]) -> dict[str, str]:
    """Return the environment if a child can have it.

    Raises:
        ValueError: If a variable has an effect only while a process starts.
    """
    for name in environment.keys() | _ENVIRONMENT.keys():
        fixed = name.startswith(FIXED) and name != "PYTHONPATH"
        if fixed and environment.get(name) != _ENVIRONMENT.get(name):
            raise ValueError(f"{name} is read while Python starts: start a real process")
    return dict(environment)


def _start(
    function: str,
    arguments: Sequence[Any],
    argv: Sequence[str],
    env: Mapping[str, str] | None,
    cwd: str | Path | None,
    stdout: int | IO[Any],
    stderr: int | IO[Any],
) -> Forked:
    request = Request(
        function=function, arguments=list(arguments), argv=list(argv),
        environment=_checked(os.environ if env is None else env),
        folder=os.path.abspath(cwd or "."),
    )  # fmt: skip
    (end, their_end), (out, their_out), (err, their_err) = os.pipe(), _file(stdout), _file(stderr)
    theirs = [their_out, their_err, their_end]
    try:
        fork_server().send(request, theirs)
    finally:
        for file in theirs:
            os.close(file)
    return Forked(list(argv), end, out, err)


def _file(where: int | IO[Any]) -> tuple[int | None, int]:
    """The end that we read, if it is a pipe, and the end that the child writes to."""
    if where == subprocess.PIPE:
        return os.pipe()
    if where == subprocess.DEVNULL:
        return None, os.open(os.devnull, os.O_WRONLY)
    return None, os.dup(where if isinstance(where, int) else where.fileno())


def start_function(
    function: str,
    *arguments: Any,  # noqa: ANN401 - any JSON
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    stdout: int | IO[Any] = subprocess.PIPE,
    stderr: int | IO[Any] = subprocess.PIPE,
) -> Forked:
    """Start a function in its own process.

    Args:
        function: The function, as ``module:qualname``.
        arguments: Its arguments, as JSON values.
        env: Its whole environment; ours if None.
        cwd: Its folder; ours if None.
        stdout: As of `subprocess.Popen`.
        stderr: As of `subprocess.Popen`.
    """
    return _start(function, arguments, [function], env, cwd, stdout, stderr)


def start_milestones(
    *words: str,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    stdout: int | IO[Any] = subprocess.PIPE,
    stderr: int | IO[Any] = subprocess.PIPE,
) -> Forked:
    """Start `milestones` in its own process; the other arguments are those of `start_function`."""
    return _start("pipelines.cli:main", [], ["milestones", *words], env, cwd, stdout, stderr)


def run_milestones(
    *words: str,
    env: Mapping[str, str] | None = None,
    cwd: str | Path | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `milestones` in its own process, until it ends.

    Raises:
        TimeoutExpired: If the process does not end in time; it is killed.
    """
    with start_milestones(*words, env=env, cwd=cwd) as process:
        out, err = process.communicate(timeout)
        return subprocess.CompletedProcess(process.args, process.wait(), out, err)
