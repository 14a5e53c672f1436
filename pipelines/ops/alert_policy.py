"""Whether a run's outcome is news, and the message to send."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import pendulum

from warehouse.alert_state import AlertState

_VARIES = re.compile(r"\S*\d\S*")  # counts, times, ids: they differ though the cause is the same
_SHOWN = 10  # matters in one message


class Condition(StrEnum):
    """How a job stands, for whoever is on call."""

    WELL = "well"
    PERSON = "needs a person"  # done and published, and something is left to a person
    FAILED = "failed"  # the last good state stands, and trying again will not help
    LATE = "late"  # nothing succeeded for too long, for whatever reason


_DONE = (Condition.WELL, Condition.PERSON)


@dataclass(frozen=True)
class JobOutcome:
    """How a run ended.

    Args:
        exit_code: As in the README.
        matters: What needs a person, or why it failed; a line each, the same as long as it is.
        kind: Of a failure: the name of its error, which says what to do next.
        happened: What happened once and needs a person: no later run tells whether it is settled.
    """

    exit_code: int
    matters: tuple[str, ...] = ()
    kind: str = ""
    happened: tuple[str, ...] = ()

    @property
    def cause(self) -> str:
        """What makes a failure another one than that of the hour before."""
        return _VARIES.sub("#", f"{self.kind}: {' '.join(self.matters)}")


@dataclass(frozen=True)
class AlertDecision:
    """What to remember, and what to tell; nothing if no state changed.

    Args:
        told: What to remember, once it was told.
        message: What to tell; empty for nothing.
    """

    told: AlertState
    message: str = ""


def judge(
    before: AlertState,
    ended: JobOutcome,
    after: timedelta,
    job: str,
    now: datetime,
    asked: bool = True,
) -> AlertDecision:
    """What changed for whoever is on call.

    Args:
        before: What was told last.
        ended: How the run ended.
        after: How long there may be no success.
        job: What to call the job in a message.
        now: The time of this machine, UTC.
        asked: Whether ``before`` is all that is known; if not, what other machines told stands.
    """
    success = ended.exit_code in (0, 3)
    last_success = now if success else before.last_success or now
    was = Condition(before.condition or Condition.WELL)
    condition, matters = _next_condition(
        was, before, ended, now - _lateness_start(before, last_success) > after
    )
    # What happened in a push and was told may last, and is told by the next sync as what lasts.
    goes_on = condition is was or (was, condition) == (Condition.WELL, Condition.PERSON)
    new = [matter for matter in matters if not goes_on or matter not in before.matters]
    changed = bool(new) or not goes_on
    untold = dict.fromkeys((*before.untold, *ended.happened))
    happened = [line for line in untold if line not in before.matters]
    if not (changed or happened or success) and before.saved_at:
        return AlertDecision(before)  # no news; a run that goes on beside this one may have some
    shown = new if condition is Condition.PERSON else ended.matters
    parts = [_message(job, condition, before, shown, last_success, now)] if changed else []
    if happened:
        parts.append(_one_time_message("It" if parts else job, happened))
    known = dict.fromkeys((*matters, *ended.happened)) if condition in _DONE else matters
    told = AlertState(
        condition,
        tuple(known),  # what is settled is forgotten, so that it is told again if it comes back
        now if changed or condition is not was else before.since,
        last_success,
        now if asked or parts else before.saved_at,
    )
    return AlertDecision(told, "\n".join(parts))


def _lateness_start(before: AlertState, last_success: datetime) -> datetime:
    """Since when no success is lateness: whoever was told of a failure mends it first."""
    if before.condition == Condition.FAILED and before.since:
        return max(before.since, last_success)
    return last_success


def _next_condition(
    was: Condition, before: AlertState, ended: JobOutcome, late: bool
) -> tuple[Condition, Sequence[str]]:
    """The condition, and what it is told by."""
    if ended.exit_code in (0, 3):
        return (Condition.PERSON if ended.matters else Condition.WELL), ended.matters
    if ended.exit_code in (1, 2):
        if was is Condition.LATE and ended.cause in before.matters:
            return was, before.matters  # it was told before it became late
        return Condition.FAILED, (ended.cause,)
    # Try again later, or stopped: no news, unless this goes on for too long.
    if late and was is not Condition.LATE:
        return Condition.LATE, before.matters if was is Condition.FAILED else ()
    return was, before.matters


def _message(
    job: str,
    condition: Condition,
    before: AlertState,
    matters: Sequence[str],
    last_success: datetime,
    now: datetime,
) -> str:
    if condition is Condition.WELL:
        since = f" for {_duration_words(before.since, now)}" if before.since else ""
        was = {
            Condition.PERSON: "needed a person",
            Condition.FAILED: "failed",
            Condition.LATE: "was late",
        }
        return f"{job} is well again. It {was[Condition(before.condition)]}{since}."
    says = {
        Condition.PERSON: "is done, and needs a person:",
        Condition.FAILED: "failed, and will until a person acts; the last good state stands:",
        Condition.LATE: f"has not succeeded since {last_success:%Y-%m-%d %H:%M} UTC. It was told:",
    }[condition]
    return "\n".join([f"{job} {says}", *_listed(matters, "milestones status")])


def _one_time_message(who: str, happened: Sequence[str]) -> str:
    """What nobody will say is settled, since no later run looks at it again."""
    says = "leaves to a person what happened while it wrote back (told once, with no all-clear):"
    return "\n".join([f"{who} {says}", *_listed(happened, "milestones changes --all")])


def _listed(matters: Sequence[str], command: str) -> list[str]:
    lines = [f"• {matter}" for matter in matters[:_SHOWN]]
    if len(matters) > _SHOWN:
        lines.append(f"• and {len(matters) - _SHOWN} more: see `{command}`")
    return lines


def _duration_words(since: datetime, now: datetime) -> str:
    return pendulum.instance(since).diff_for_humans(pendulum.instance(now), absolute=True)
