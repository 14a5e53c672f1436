"""What building users' marts led to."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(kw_only=True)
class UserMartsResult:
    """What building users' marts led to.

    Args:
        problems: What requires action, a line each.
        dropped: The tables that were dropped, a line each.
    """

    problems: list[str] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)
