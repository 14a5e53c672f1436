"""Exit codes of commands."""

from __future__ import annotations

from enum import IntEnum


class ExitCode(IntEnum):
    """The exit code of a command, for cron, Airflow and scripts."""

    DONE = 0
    FAILED = 1  # the last good state stays
    MISCONFIGURED = 2  # wrong use or configuration
    ACTION_REQUIRED = 3  # done, but someone must act; published, unless the message says otherwise
    TRY_LATER = 75  # another run is going, or the API does not answer
    INTERRUPTED = 130  # by SIGINT
    TERMINATED = 143  # by SIGTERM


SUCCEEDED = (ExitCode.DONE, ExitCode.ACTION_REQUIRED)
STOPPED_BY_SIGNAL = (ExitCode.INTERRUPTED, ExitCode.TERMINATED)


def signal_exit_code(signum: int) -> ExitCode:
    """Return the exit code of a process stopped by SIGINT or SIGTERM: 128 and the signal."""
    return ExitCode(128 + signum)
