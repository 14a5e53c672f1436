"""The cost of a pytest run: CPU-seconds of all its processes, and elapsed seconds.

The CPU time of a process is added to that of the parent that waits for it. If the parent ended
first, it would be lost. So on Linux pytest's first process adopts orphans: a fork server whose
worker has ended, and Postgres, which starts detached.
"""

from __future__ import annotations

import ctypes
import os
import resource
import sys
import time

_PR_SET_CHILD_SUBREAPER = 36
_PATIENCE = 30.0  # seconds


class Usage:
    """The CPU time of this process and of all its descendants."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._adopt_orphans()

    def _adopt_orphans(self) -> None:
        """Become the parent of descendants whose parent ends."""
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def await_orphans(self) -> None:
        """Wait for orphans that are about to end; ignore those that continue."""
        deadline = time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            try:
                if os.waitpid(-1, os.WNOHANG) == (0, 0):
                    time.sleep(0.02)
            except ChildProcessError:
                return

    def described(self) -> str:
        """The figures, in one line."""
        whose = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        used = [resource.getrusage(who) for who in whose]
        cpu = sum(usage.ru_utime + usage.ru_stime for usage in used)
        return f"{cpu:.0f} CPU-seconds in {time.monotonic() - self._began:.0f} seconds"
