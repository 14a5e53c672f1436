"""Decide whether a run's outcome needs an alert, and write the message."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

import pendulum

from pipelines.runtime.exit_codes import SUCCEEDED, ExitCode
from pipelines.runtime.text import visible
from warehouse.alert_state import AlertState

_VARIES = re.compile(r"\S*\d\S*")  # counts, times and ids differ between runs with one cause
_MAX_LINES = 10  # matters listed in one message


class Condition(StrEnum):
    """The condition of a job, for the people on call."""

    WELL = "well"
    PERSON = "needs a person"  # done and published, but action is required
    FAILED = "failed"  # the last good state stays, and repeating the run will not help
    LATE = "late"  # no run has succeeded for too long


_DONE = (Condition.WELL, Condition.PERSON)
# Exit codes of failed runs that fail again until someone acts.
_UNTIL_SOMEONE_ACTS = (ExitCode.FAILED, ExitCode.MISCONFIGURED, ExitCode.ACTION_REQUIRED)


@dataclass(frozen=True)
class JobOutcome:
    """The outcome of a run.

    Args:
        exit_code: The exit code.
        matters: What requires action, or why the run failed: lines that the next run repeats until
            they are settled.
        kind: The name of the error of a failed run.
        happened: What happened once and requires action: no later run reports it.
    """

    exit_code: int
    matters: tuple[str, ...] = ()
    kind: str = ""
    happened: tuple[str, ...] = ()

    @property
    def succeeded(self) -> bool:
        """Return whether the job's run published the data it read."""
        return self.exit_code in SUCCEEDED and not self.kind

    @property
    def cause(self) -> str:
        """Return the cause of a job's failure, equal for two runs that fail for the same reason."""
        return _VARIES.sub("#", f"{self.kind}: {' '.join(self.matters)}")


@dataclass(frozen=True)
class AlertDecision:
    """The message to send, and the state to save.

    Args:
        state: The alert state to save once the message is sent.
        message: The message; empty if nothing is to be sent.
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
    """Compare a run's outcome with the last alert; return the message and the new state.

    Args:
        before: The alert state of the last run.
        outcome: The outcome of this run.
        after: The longest time without a successful run before an alert.
        job: The name of the job in the message.
        now: The time of this machine, UTC.
        warehouse_read: Whether ``before`` includes the state in the warehouse; if not, the alerts
            of other machines count more than this one.
    """
    news = _compare(before, outcome, after, now)
    if not (news.is_any or outcome.succeeded) and before.saved_at:
        return AlertDecision(before)  # a run in parallel may have saved a newer state
    message = _write_message(news, before, outcome, job, now)
    known = news.matters
    if news.condition in _DONE:
        known = tuple(dict.fromkeys((*news.matters, *outcome.happened)))
    state = AlertState(
        condition=news.condition,
        matters=known,  # without those settled, which are sent again if they come back
        since=now if news.is_changed or news.condition is not news.was else before.since,
        last_success=news.last_success,
        saved_at=now if warehouse_read or message else before.saved_at,
    )
    return AlertDecision(state, message)


@dataclass(frozen=True, kw_only=True)
class _News:
    """How the state of a job differs from the one of the last alert.

    Args:
        was: The condition of the last alert.
        condition: The condition now.
        matters: The matters that make it so.
        new_matters: Those of them that no alert has contained.
        is_changed: Whether the condition or its matters need an alert.
        happened: What happened once and no alert has contained.
        last_success: The time of the last successful run, or of the first run.
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
        """Return whether the news needs an alert."""
        return self.is_changed or bool(self.happened)


def _compare(before: AlertState, outcome: JobOutcome, after: timedelta, now: datetime) -> _News:
    """Compare a run's outcome with the last alert; return what is new."""
    # A time to come was written while this machine's clock was wrong.
    last_success = now if outcome.succeeded else min(before.last_success or now, now)
    is_late = now - min(_lateness_start(before, last_success), now) > after
    was = Condition(before.condition or Condition.WELL)
    condition, matters = _next_condition(was, before, outcome, is_late)
    # What happened in a push may last: then the next sync reports it as a matter.
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
    """Return when lateness begins: after an alert of a failure, people get time to fix it."""
    if before.condition == Condition.FAILED and before.since:
        return max(before.since, last_success)
    return last_success


def _next_condition(
    was: Condition, before: AlertState, outcome: JobOutcome, is_late: bool
) -> tuple[Condition, Sequence[str]]:
    """Return the condition that decides on an alert, and the matters that identify it."""
    if outcome.succeeded:
        return (Condition.PERSON if outcome.matters else Condition.WELL), outcome.matters
    if outcome.exit_code in _UNTIL_SOMEONE_ACTS:
        if was is Condition.LATE and outcome.cause in before.matters:
            return was, before.matters  # its alert came before it was late
        return Condition.FAILED, (outcome.cause,)
    # To be tried again, or stopped by a signal: no alert, unless it lasts for too long.
    if is_late and was is not Condition.LATE:
        return Condition.LATE, before.matters if was is Condition.FAILED else ()
    return was, before.matters


def _write_message(
    news: _News, before: AlertState, outcome: JobOutcome, job: str, now: datetime
) -> str:
    """Return the alert's message: the condition, then what happened once; empty if none is new."""
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
    """Return the part of an alert's message about the condition of the job."""
    if news.condition is Condition.WELL:
        since = f" for {_duration_words(before.since, now)}" if before.since else ""
        return f"{job} has recovered. It {_WAS[news.was]}{since}."
    says = {
        Condition.PERSON: "is done, but action is required:",
        Condition.FAILED: "failed, and will fail until someone acts; the published data stays:",
        Condition.LATE: f"has not succeeded since {news.last_success:%Y-%m-%d %H:%M} UTC. "
        "The last run ended with:",
    }[news.condition]
    return "\n".join([f"{job} {says}", *_listed(shown, "milestones status")])


_WAS = {
    Condition.PERSON: "required action",
    Condition.FAILED: "failed",
    Condition.LATE: "was late",
}


def _one_time_message(who: str, happened: Sequence[str]) -> str:
    """Return the alert's part on what happened once: no later alert says that it is settled."""
    says = "requires action on what happened during a push (sent once, with no all-clear):"
    return "\n".join([f"{who} {says}", *_listed(happened, "milestones changes --all")])


def _listed(matters: Sequence[str], command: str) -> list[str]:
    """Return the first matters of an alert's message as lines, and the command that shows more."""
    lines = [f"• {visible(matter)}" for matter in matters[:_MAX_LINES]]
    if len(matters) > _MAX_LINES:
        lines.append(f"• and {len(matters) - _MAX_LINES} more: see `{command}`")
    return lines


def _duration_words(since: datetime, now: datetime) -> str:
    """Return in words, for an alert's message, how long a condition has lasted."""
    return pendulum.instance(since).diff_for_humans(pendulum.instance(now), absolute=True)
