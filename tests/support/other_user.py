"""Run a command as another user of the system, which only root can do."""

from __future__ import annotations

import os
import subprocess
import sys

from pipelines.cli import main
from tests.support.processes import start_function

ANOTHER_USER = 4711  # also the number of the user's group; neither has a name


def run_as_another_user(*words: str) -> subprocess.CompletedProcess[str]:
    """Run `milestones` as another user, until it ends."""
    with start_function("tests.support.other_user:as_another_user", list(words)) as process:
        out, err = process.communicate()
        return subprocess.CompletedProcess(process.args, process.wait(), out, err)


def as_another_user(words: list[str]) -> None:
    """Become another user for good, and run `milestones` with these words."""
    os.setgroups([])
    os.setgid(ANOTHER_USER)
    os.setuid(ANOTHER_USER)
    sys.argv = ["milestones", *words]
    main()
