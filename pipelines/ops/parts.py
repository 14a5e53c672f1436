"""The parts of the job."""

from __future__ import annotations

from enum import StrEnum


class Part(StrEnum):
    """A part of the job, for schedulers that start each part separately."""

    SYNC = "sync"
    PUSH = "push"
