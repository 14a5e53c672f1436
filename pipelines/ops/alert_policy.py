"""Whether a run's outcome is news, and the message to send."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import pendulum

from pipelines.runtime.exit_codes import SUCCEEDED, ExitCode
from warehouse.alert_state import AlertState

_VARIES = re.compile(r"\S*\d\S*")  # counts, times, ids: they differ though the cause is the same
_MAX_LINES = 10  # matters in one message


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
    def succeeded(self) -> bool:
        """Whether the run published what it read."""
        return self.exit_code in SUCCEEDED

    @property
    def cause(self) -> str:
        """What makes a failure another one than that of the hour before."""
        return _VARIES.sub("#", f"{self.kind}: {' '.join(self.matters)}")


@dataclass(frozen=True)
class AlertDecision:
    """What to remember, and what to tell; nothing if no state changed.

    Args:
        state: What to remember, once it was told.
        message: What to tell; empty for nothing.
    """

    state: AlertState
    message: str = ""


def decide_alert(
    before: AlertState,
    outcome: JobOutcome,
    *,
    after: timedelta,
    job: str,
    now: datetime,
    warehouse_read: bool = True,
) -> AlertDecision:
    """What changed for whoever is on call.

    Args:
        before: What was told last.
        outcome: How the run ended.
        after: How long there may be no success.
        job: What to call the job in a message.
        now: The time of this machine, UTC.
        warehouse_read: Whether ``before`` is all that is known; if not, what other machines told
            stands.
    """
    news = _compare(before, outcome, after, now)
    if not (news.is_any or outcome.succeeded) and before.saved_at:
        return AlertDecision(before)  # no news; a run that goes on beside this one may have some
    message = _write_message(news, before, outcome, job, now)
    known = news.matters
    if news.condition in _DONE:
        known = tuple(dict.fromkeys((*news.matters, *outcome.happened)))
    state = AlertState(
        condition=news.condition,
        matters=known,  # what is settled is forgotten, so that it is told again if it comes back
        since=now if news.is_changed or news.condition is not news.was else before.since,
        last_success=news.last_success,
        saved_at=now if warehouse_read or message else before.saved_at,
    )
    return AlertDecision(state, message)


@dataclass(frozen=True, kw_only=True)
class _News:
    """How the state of a job differs from the one that was told last.

    Args:
        was: The condition before.
        condition: The condition now.
        matters: What makes it so.
        new_matters: Those of them that were not told.
        is_changed: Whether the condition, or what makes it so, must be told.
        happened: What happened once and was not told.
        last_success: When a run last ended well, or the first run of all began.
    """

    was: Condition
    condition: Condition
    matters: tuple[str, ...]
    new_matters: tuple[str, ...]
    is_changed: bool
    happened: tuple[str, ...]
    last_success: datetime

    @property
    def is_any(self) -> bool:
        """Whether anything must be told."""
        return self.is_changed or bool(self.happened)


def _compare(before: AlertState, outcome: JobOutcome, after: timedelta, now: datetime) -> _News:
    last_success = now if outcome.succeeded else before.last_success or now
    is_late = now - _lateness_start(before, last_success) > after
    was = Condition(before.condition or Condition.WELL)
    condition, matters = _next_condition(was, before, outcome, is_late)
    # What happened in a push and was told may last, and is told by the next sync as what lasts.
    is_same = condition is was or (was, condition) == (Condition.WELL, Condition.PERSON)
    new = tuple(m for m in matters if not is_same or m not in before.matters)
    happened = dict.fromkeys((*before.untold, *outcome.happened))
    return _News(
        was=was,
        condition=condition,
        matters=tuple(matters),
        new_matters=new,
        is_changed=bool(new) or not is_same,
        happened=tuple(line for line in happened if line not in before.matters),
        last_success=last_success,
    )


def _lateness_start(before: AlertState, last_success: datetime) -> datetime:
    """Since when no success is lateness: whoever was told of a failure mends it first."""
    if before.condition == Condition.FAILED and before.since:
        return max(before.since, last_success)
    return last_success


def _next_condition(
    was: Condition, before: AlertState, outcome: JobOutcome, is_late: bool
) -> tuple[Condition, Sequence[str]]:
    """The condition, and what it is told by."""
    if outcome.succeeded:
        return (Condition.PERSON if outcome.matters else Condition.WELL), outcome.matters
    if outcome.exit_code in (ExitCode.FAILED, ExitCode.MISCONFIGURED):
        if was is Condition.LATE and outcome.cause in before.matters:
            return was, before.matters  # it was told before it became late
        return Condition.FAILED, (outcome.cause,)
    # Try again later, or stopped: no news, unless this goes on for too long.
    if is_late and was is not Condition.LATE:
        return Condition.LATE, before.matters if was is Condition.FAILED else ()
    return was, before.matters


def _write_message(
    news: _News, before: AlertState, outcome: JobOutcome, job: str, now: datetime
) -> str:
    """The message: first the condition, then what happened once; empty if nothing is new."""
    parts = []
    if news.is_changed:
        is_person = news.condition is Condition.PERSON
        shown = news.new_matters if is_person else outcome.matters
        parts.append(_condition_message(news, before, shown, job, now))
    if news.happened:
        parts.append(_one_time_message("It" if parts else job, news.happened))
    return "\n".join(parts)


def _condition_message(
    news: _News, before: AlertState, shown: Sequence[str], job: str, now: datetime
) -> str:
    if news.condition is Condition.WELL:
        since = f" for {_duration_words(before.since, now)}" if before.since else ""
        return f"{job} is well again. It {_WAS[news.was]}{since}."
    says = {
        Condition.PERSON: "is done, and needs a person:",
        Condition.FAILED: "failed, and will until a person acts; the last good state stands:",
        Condition.LATE: f"has not succeeded since {news.last_success:%Y-%m-%d %H:%M} UTC. "
        "It was told:",
    }[news.condition]
    return "\n".join([f"{job} {says}", *_listed(shown, "milestones status")])


_WAS = {
    Condition.PERSON: "needed a person",
    Condition.FAILED: "failed",
    Condition.LATE: "was late",
}


def _one_time_message(who: str, happened: Sequence[str]) -> str:
    """What nobody will say is settled, since no later run looks at it again."""
    says = "leaves to a person what happened while it wrote back (told once, with no all-clear):"
    return "\n".join([f"{who} {says}", *_listed(happened, "milestones changes --all")])


def _listed(matters: Sequence[str], command: str) -> list[str]:
    lines = [f"• {matter}" for matter in matters[:_MAX_LINES]]
    if len(matters) > _MAX_LINES:
        lines.append(f"• and {len(matters) - _MAX_LINES} more: see `{command}`")
    return lines


def _duration_words(since: datetime, now: datetime) -> str:
    return pendulum.instance(since).diff_for_humans(pendulum.instance(now), absolute=True)
