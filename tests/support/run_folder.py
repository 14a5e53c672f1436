"""A folder of one pytest run, which its workers share: what is made once is there for all."""

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
    """Make it; workers inherit its name."""
    folder = Path(tempfile.mkdtemp(prefix="milestones-tests-"))
    folder.chmod(0o755)  # the user of Postgres passes through it
    os.environ[_NAME] = str(folder)


def run_folder() -> Path:
    """The folder of this run."""
    return Path(os.environ[_NAME])


def remove_run_folder() -> None:
    """Remove it with all that is in it."""
    shutil.rmtree(os.environ.pop(_NAME), ignore_errors=True)


@contextmanager
def one_at_a_time(name: str) -> Iterator[Path]:
    """Hold a lock among the workers; gives a path of that name in the folder."""
    path = run_folder() / name
    with path.with_name(f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield path
