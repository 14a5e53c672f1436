"""How many changes of a push failed in a row, and in the same way."""

from __future__ import annotations

IN_A_ROW = 3  # changes with the same failure, before the others are left to a later push


class FailureStreak:
    """Counts how many changes in a row had the same failure."""

    def __init__(self) -> None:
        self._failure, self._length = "", 0

    def add(self, failure: str) -> bool:
        """Count the failure of a pushed change; return whether too many in a row had it.

        Args:
            failure: Its name; empty if it does not concern other changes.
        """
        self._length = self._length + 1 if failure == self._failure else 1
        self._failure = failure
        return bool(failure) and self._length >= IN_A_ROW

    def end(self) -> None:
        """Start the push's count of failures over, after a change that succeeded."""
        self.add("")
