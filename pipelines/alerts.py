"""Alerts: a webhook hears once of each change of state, in one message that says what to do."""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from pathlib import Path

import pendulum
import requests

from warehouse import told
from warehouse.database import opened
from warehouse.errors import WarehouseError
from warehouse.told import Told

from .place import LOADER_FILE, Place
from .settings import AlertSettings, without_secrets

_TIMEOUT = (5.0, 10.0)  # seconds to connect, and for the answer
_SHOWN = 10  # matters in one message
_LONGEST = 3_000  # characters; Slack shows no more than about that many


class Condition(StrEnum):
    """How a job stands, for whoever is on call."""

    WELL = "well"
    PERSON = "needs a person"  # done and published, and something is left to a person
    FAILED = "failed"  # the last good state stands, and trying again will not help
    LATE = "late"  # nothing succeeded for too long, for whatever reason


@dataclass(frozen=True)
class Ended:
    """How a run ended.

    Args:
        exit_code: As in the README.
        matters: What needs a person, or why it failed; a line each, the same as long as it is.
        kind: Of a failure: the name of its error, which says what to do next.
    """

    exit_code: int
    matters: tuple[str, ...] = ()
    kind: str = ""


@dataclass(frozen=True)
class Verdict:
    """What to remember, and what to tell; nothing if no state changed.

    Args:
        told: What to remember, once it was told.
        message: What to tell; empty for nothing.
    """

    told: Told
    message: str = ""


def judge(before: Told, ended: Ended, after: timedelta, job: str, now: datetime) -> Verdict:
    """What changed for whoever is on call.

    Args:
        before: What was told last.
        ended: How the run ended.
        after: How long there may be no success.
        job: What to call the job in a message.
        now: The time of this machine, UTC.
    """
    success = ended.exit_code in (0, 3)
    last_success = now if success else before.last_success or now
    condition, matters = _state(before, ended, now - last_success > after)
    same = condition == (before.condition or Condition.WELL)
    new = [matter for matter in matters if not same or matter not in before.matters]
    known = replace(before, last_success=last_success, saved_at=now)
    if same and not new and not success and before.saved_at:
        return Verdict(before)  # no news; a run that goes on beside this one may have some
    if same and not new:
        # What is settled is forgotten, so that it is told again if it comes back.
        return Verdict(replace(known, condition=condition, matters=tuple(matters)))
    remembered = replace(known, condition=condition, matters=tuple(matters), since=now)
    shown = ended.matters if condition is Condition.FAILED else new or ended.matters
    return Verdict(remembered, _message(job, condition, before, shown, last_success, now))


def _state(before: Told, ended: Ended, late: bool) -> tuple[Condition, Sequence[str]]:
    """The condition, and what it is told by."""
    if ended.exit_code == 0:
        return Condition.WELL, ()
    if ended.exit_code == 3:
        return Condition.PERSON, ended.matters
    if ended.exit_code in (1, 2):
        return Condition.FAILED, (ended.kind,)
    # Try again later, or stopped: no news, unless this goes on for too long.
    was = Condition(before.condition or Condition.WELL)
    if late and was is not Condition.FAILED:
        return Condition.LATE, ()
    return was, before.matters


def _message(
    job: str,
    condition: Condition,
    before: Told,
    matters: Sequence[str],
    last_success: datetime,
    now: datetime,
) -> str:
    if condition is Condition.WELL:
        since = f" for {_for(before.since, now)}" if before.since else ""
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
    lines = [f"• {matter}" for matter in matters[:_SHOWN]]
    if len(matters) > _SHOWN:
        lines.append(f"• and {len(matters) - _SHOWN} more: see `milestones status`")
    return without_secrets("\n".join([f"{job} {says}", *lines]))[:_LONGEST]


def _for(since: datetime, now: datetime) -> str:
    return pendulum.instance(since).diff_for_humans(pendulum.instance(now), absolute=True)


def alert(
    settings: AlertSettings,
    destination: str,
    place: Place | None,
    job: str,
    ended: Ended,
    now: datetime,
    note: Callable[[str], None],
) -> None:
    """Tell the webhook what changed, if anything did. Whatever fails here is noted, not raised.

    Args:
        settings: ``[alerts]``.
        destination: ``duckdb`` or ``postgres``.
        place: The warehouse; None if it is not to be asked.
        job: What to call the job; each has a state of its own.
        ended: How its run ended.
        now: The time of this machine, UTC.
        note: Told in one line what went wrong.
    """
    if not settings.webhook_url:
        return
    path = Path(LOADER_FILE).parent / f"alerts-{destination}-{job}.json"
    before = told.later(told.from_file(path), _remembered(place, job))
    called = f"milestones {job}, {destination} on {socket.gethostname()},"
    verdict = judge(before, ended, settings.after, called, now)
    if verdict.message and (failed := _send(settings.webhook_url, verdict.message)):
        note(f"the alert was not sent, and will be tried again by the next run: {failed}")
        return
    if verdict.told == before:
        return
    try:
        told.to_file(path, verdict.told)
    except WarehouseError as error:
        note(f"the alert may come again: {error}")
    _remember(place, job, verdict.told)


def _remembered(place: Place | None, job: str) -> Told:
    if place is None or place.loader:
        return Told()
    try:
        with opened(place.destination) as database:
            return told.from_warehouse(database, job)
    except WarehouseError:
        return Told()  # it is down; the file knows


def _remember(place: Place | None, job: str, what: Told) -> None:
    if place is None or place.loader:
        return
    try:
        with opened(place.destination) as database:
            told.to_warehouse(database, job, what)
    except WarehouseError:
        pass  # the file knows, and the next run writes both


def _send(url: str, message: str) -> str:
    """Send a message as Slack takes it; gives why that failed, without the address."""
    try:
        answer = requests.post(url, json={"text": message}, timeout=_TIMEOUT, allow_redirects=False)
    except requests.RequestException as error:
        return f"no answer from the webhook ({type(error).__name__})"
    return "" if answer.ok and not answer.is_redirect else f"the webhook said {answer.status_code}"
