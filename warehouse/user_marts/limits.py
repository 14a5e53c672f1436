"""What a user's mart may take: time, memory and rows."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Limits:
    """The limits of a user's mart, so that one that never ends ends.

    Args:
        seconds: The longest time of its query, and of a check.
        memory: Bytes of the process that builds it, on DuckDB, in addition to DuckDB's own limit.
            Postgres has its own settings.
        disk: Bytes it may write to a file, on DuckDB; on Postgres, those of temporary files, where
            the role may limit them.
        rows: The most rows.
    """

    seconds: int = 60
    memory: int = 768 * 2**20
    disk: int = 4 * 2**30
    rows: int = 10_000_000


LIMITS = Limits()
