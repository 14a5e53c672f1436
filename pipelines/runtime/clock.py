"""The clock of this machine."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Now = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time of this machine's clock, in UTC."""
    return datetime.now(UTC)


CLOCK_TOLERANCE = timedelta(minutes=5)  # by which two clocks may differ


def clock_difference(ahead: timedelta) -> str:
    """Return by how much this machine's clock is ahead of Kantata's, or behind, in words."""
    minutes = round(abs(ahead.total_seconds()) / 60)
    amount = f"{minutes} minutes" if minutes < 300 else f"{minutes // 60} hours"
    if minutes >= 3 * 24 * 60:
        amount = f"{minutes // (24 * 60):,} days"
    way = "ahead of" if ahead > timedelta() else "behind"
    return f"this machine's clock is {amount} {way} Kantata's"
