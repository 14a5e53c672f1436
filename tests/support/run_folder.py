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
