"""Run programs as processes of their own, and measure them: time, CPU time, peak memory."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

_KIBIBYTE = 1 if sys.platform == "darwin" else 1024  # the unit of ru_maxrss


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What a program, or several that are connected by pipes, used.

    Args:
        seconds: From the start to the end of the last one.
        cpu_seconds: Of all together.
        peak: The sum of their peak resident memory, in bytes.
    """

    seconds: float
    cpu_seconds: float
    peak: int


def run(
    *commands: Sequence[str], folder: Path, environment: Mapping[str, str] | None = None
) -> Usage:
    """Run programs, each reading what the one before it prints, and return what they used.

    Args:
        commands: The command lines.
        folder: Where they run; what they print on stderr goes to a file there.
        environment: Variables in addition to those of this process.

    Raises:
        RuntimeError: If one of them fails; it says what that printed last.
    """
    began, processes, source = time.perf_counter(), [], None
    with (folder / "stderr.txt").open("w+") as errors:
        for position, command in enumerate(commands):
            is_last = position == len(commands) - 1
            process = subprocess.Popen(
                command,
                stdin=source,
                stdout=subprocess.DEVNULL if is_last else subprocess.PIPE,
                stderr=errors,
                cwd=folder,
                env={**os.environ, **(environment or {})},
            )
            if source is not None:
                source.close()  # so that a program notices when the next one ends
            source = process.stdout
            processes.append(process)
        usages = [_wait(process) for process in processes]
        if failed := [p.args for p in processes if p.returncode]:
            errors.seek(0)
            raise RuntimeError(f"{failed[0]} failed: {errors.read()[-2000:]}")
    return Usage(
        seconds=time.perf_counter() - began,
        cpu_seconds=sum(usage.ru_utime + usage.ru_stime for usage in usages),
        peak=sum(usage.ru_maxrss for usage in usages) * _KIBIBYTE,
    )


def _wait(process: subprocess.Popen[bytes]) -> object:
    """Wait for a process, and return what it used."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage


def spread(values: Sequence[float], digits: int = 1) -> str:
    """Return the median of some values, with the least and the greatest."""
    middle, low, high = statistics.median(values), min(values), max(values)
    return f"{middle:,.{digits}f} ({low:,.{digits}f} to {high:,.{digits}f})"
