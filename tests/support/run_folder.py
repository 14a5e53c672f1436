"""A folder of one pytest run, which its workers share, so that costly parts are made only once."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_NAME = "MILESTONES_TEST_RUN"
_IN_MEMORY = Path("/dev/shm")  # noqa: S108 - only its folders with random names are used
_ENOUGH = 4 * 2**30  # bytes; a run needs a tenth of that


def work_in_memory() -> None:
    """Let tests make their files in memory if there is room, and TMPDIR does not say otherwise.

    On some disks a new file takes half a millisecond of CPU time, and a Postgres database has 300.
    """
    if "TMPDIR" in os.environ or not os.access(_IN_MEMORY, os.W_OK):
        return
    found = os.statvfs(_IN_MEMORY)
    runs_programs = not found.f_flag & os.ST_NOEXEC  # tests make scripts, and copy Postgres
    if runs_programs and found.f_bavail * found.f_frsize >= _ENOUGH:
        os.environ["TMPDIR"] = str(_IN_MEMORY)
        tempfile.tempdir = None  # it may have been chosen already


def make_run_folder() -> None:
    """Make the folder; workers inherit its name."""
    folder = Path(tempfile.mkdtemp(prefix="milestones-tests-"))
    folder.chmod(0o755)  # the user of Postgres must be able to enter it
    os.environ[_NAME] = str(folder)


def run_folder() -> Path:
    """The folder of this run."""
    return Path(os.environ[_NAME])


def remove_run_folder() -> None:
    """Remove the folder and its contents."""
    shutil.rmtree(os.environ.pop(_NAME), ignore_errors=True)


@contextmanager
def one_at_a_time(name: str) -> Iterator[Path]:
    """Lock out the other workers; gives a path of that name in the folder."""
    path = run_folder() / name
    with path.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path
