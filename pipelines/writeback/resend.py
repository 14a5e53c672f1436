"""When a create may be sent again: pure.

Kantata may show a milestone late, or never tell that it created one. So a create whose outcome is
unknown is sent again by itself at most once, after it was looked for twice, with a wait between
both. After that a person decides. A create that Kantata throttled was most likely not executed: one
look is enough, and it may be sent again as often as it is throttled.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from warehouse.ledger.change import Change

MAX_RESENDS = 1
# A look at the very moment of sending would count as throttled.
_APART = timedelta(microseconds=1)


def why_not_again(change: Change, now: datetime, wait: timedelta) -> str:
    """Return why a create that was not found must not be sent again yet; empty if it may be.

    Args:
        change: The create, of which the outcome is unknown.
        now: The current time, UTC.
        wait: The shortest time between the two looks.
    """
    if resends_after(change) > MAX_RESENDS:
        return (
            "it was sent twice and not found, so it is not sent again by itself. Look for it in "
            f"Kantata, then say what you found: milestones reconcile {change.change_id} --created "
            "MILESTONE_ID, or --not-created"
        )
    again_at = (change.looked_at or now) + wait
    if change.looked_at is None or (wait and now < again_at):
        return f"it was not found; it is looked for once more after {again_at:%H:%M:%S} UTC"
    return ""


def throttled_at(change: Change) -> str | None:
    """Return the ``looked_at`` of a create that was throttled: as if it was looked for then."""
    return change.sent_at.isoformat() if change.sent_at else None


def resends_after(change: Change) -> int:
    """Return the number of resends of a create that is now sent again."""
    return change.resends + (0 if _was_throttled(change) else 1)


def look_at(change: Change, now: datetime) -> datetime:
    """Return the ``looked_at`` of a create that was looked for now and not found."""
    return now + _APART if now == change.sent_at else now


def corrected_look(change: Change, now: datetime) -> datetime | None:
    """Return the ``looked_at`` of a create whose ``sent_at`` is corrected to now.

    A create that was throttled stays so, and no other becomes so. No look is in the future.
    """
    if change.looked_at is None or _was_throttled(change):
        return change.looked_at and now
    return change.looked_at if change.looked_at < now else now + _APART


def _was_throttled(change: Change) -> bool:
    """Return whether a create was throttled when it was last sent: see ``throttled_at``."""
    return change.looked_at is not None and change.looked_at == change.sent_at
