"""A part of what there is to try, another one for each commit.

`make test` tries a sample, `make test-long` all. Which sample is decided by the commit, so that a
failure comes again and successive commits try everything; MILESTONES_SAMPLE chooses another one.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Generic, TypeVar

_T = TypeVar("_T")
_ROOT = Path(__file__).parents[2]


@cache
def seed() -> str:
    """What chooses the sample: MILESTONES_SAMPLE, the commit's hash, or the same for ever."""
    if chosen := os.environ.get("MILESTONES_SAMPLE"):
        return chosen
    command = ["git", "-C", str(_ROOT), "rev-parse", "HEAD"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return "no commit"
    return found.stdout.strip() or "no commit"


@dataclass(frozen=True)
class Sample(Generic[_T]):
    """Some of all.

    Args:
        items: Those that are tried.
        about: Which they are, in words.
    """

    items: list[_T]
    about: str


def sample(items: Sequence[_T], every: int, by: str | None = None) -> Sample[_T]:
    """Each so many-eth item, from one on that the seed chooses; never none.

    Args:
        items: All there are.
        every: 1 for all of them.
        by: Another seed than the commit's.
    """
    by = seed() if by is None else by
    step = max(min(every, len(items)), 1)
    start = int(hashlib.sha256(by.encode()).hexdigest(), 16) % step
    about = "all" if step == 1 else f"sample {start + 1} of {step}, chosen by {by[:12]}"
    return Sample(list(items[start::step]), about)
