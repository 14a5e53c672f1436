"""The result of one check of ``milestones check``."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class CheckResult:
    """The result of one check.

    Args:
        question: The name of what is checked.
        answer: One line; if the check failed, with how to fix it.
        exit_code: 0 if the check passed, else the exit code a run would have.
    """

    question: str
    answer: str
    exit_code: int = 0
