"""Words of messages."""

from __future__ import annotations


def counted(count: int, what: str) -> str:
    """Return a number as text, and what it counts in the singular or with a plural s."""
    return f"{count:,} {what}{'' if count == 1 else 's'}"
