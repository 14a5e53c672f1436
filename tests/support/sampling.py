"""Samples of long lists of test cases; each commit has another sample.

`make test` tries a sample, `make test-long` all cases. The commit decides the sample, so that a
failure can be repeated and successive commits try everything. MILESTONES_SAMPLE overrides it.
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
    """The seed of the sample: MILESTONES_SAMPLE, else the commit's hash, else a constant."""
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
    """A sample of test cases.

    Args:
        items: The cases that are tried.
        about: A description of the sample.
    """

    items: list[_T]
    about: str


def sample(items: Sequence[_T], every: int, by: str | None = None) -> Sample[_T]:
    """Take every nth item, starting at one that the seed chooses; at least one item.

    Args:
        items: All items.
        every: The n; 1 takes all.
        by: A seed other than the commit's.
    """
    by = seed() if by is None else by
    step = max(min(every, len(items)), 1)
    start = int(hashlib.sha256(by.encode()).hexdigest(), 16) % step
    about = "all" if step == 1 else f"sample {start + 1} of {step}, chosen by {by[:12]}"
    return Sample(list(items[start::step]), about)
