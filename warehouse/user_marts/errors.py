"""What is wrong with users' SQL."""

from __future__ import annotations


class UserSqlFailed(Exception):
    """A user's SQL fails, or is refused.

    Args:
        message: What is wrong.
        line: The line of the file; None if it is not known.
    """

    def __init__(self, message: str, line: int | None = None) -> None:
        super().__init__(message)
        self.line = line


class UserMartFailed(Exception):
    """A user's mart is not changed; the message is a line with its file and line."""


def too_long(seconds: int) -> str:
    """Return why a query of a user was ended."""
    return f"it took longer than {seconds} s, and was ended: make it smaller"


def too_many_rows(rows: int) -> str:
    """Return why a mart of a user is refused."""
    return f"it has more than {rows:,} rows: make it smaller"
