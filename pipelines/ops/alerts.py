"""Alerts: a webhook hears once of each change of state, in one message that says what to do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import requests

from pipelines.config.secrets import mask_secrets
from pipelines.config.settings import AlertSettings
from pipelines.config.targets import LOADER_FILE
from warehouse import alert_state
from warehouse.alert_state import AlertState
from warehouse.database import connect
from warehouse.errors import WarehouseError
from warehouse.target import Target

from .alert_policy import JobOutcome, judge

_ANSWERS_WITHIN = 15.0  # seconds for the whole call: requests' own timeout is for each read
_WHEN_STOPPED = 1.5  # seconds: a load that drains may have had eight of the ten since the signal
_STOPPED = (130, 143)
_LONGEST = 3_000  # characters; Slack shows no more than about that many


def send_alert(
    settings: AlertSettings,
    destination: str,
    target: Target | None,
    job: str,
    ended: JobOutcome,
    now: datetime,
    note: Callable[[str], None],
) -> None:
    """Tell the webhook what changed, if anything did. Whatever fails here is noted, not raised.

    Args:
        settings: ``[alerts]``.
        destination: ``duckdb`` or ``postgres``.
        target: The warehouse; None if it is not to be asked.
        job: What to call the job; each has a state of its own.
        ended: How its run ended.
        now: The time of this machine, UTC.
        note: Told in one line what went wrong.
    """
    if not settings.webhook_url:
        return
    path = Path(LOADER_FILE).parent / f"alerts-{destination}-{job}.json"
    remembered = AlertState() if destination == "duckdb" else _state_in_warehouse(target, job)
    asked = remembered is not None
    before = alert_state.newer(alert_state.from_file(path), remembered or AlertState())
    called = f"milestones {job}, {destination} on {socket.gethostname()},"
    verdict = judge(before, ended, settings.after, called, now, asked)
    what = verdict.told
    within = _WHEN_STOPPED if ended.exit_code in _STOPPED else _ANSWERS_WITHIN
    if verdict.message and (failed := _send(settings.webhook_url, verdict.message, within)):
        note(f"the alert was not sent, and will be tried again by the next run: {failed}")
        # The next run meets the same state again, but not what happened in this one.
        untold = tuple(dict.fromkeys((*before.untold, *ended.happened)))
        what = replace(before, untold=untold, saved_at=now if asked else before.saved_at)
        if untold == before.untold:
            return
    if what == before:
        return
    try:
        alert_state.to_file(path, what)
    except WarehouseError as error:
        note(f"the alert may come again: {error}")
    if asked or what.saved_at == now:
        _save_in_warehouse(target, job, what)


def _state_in_warehouse(target: Target | None, job: str) -> AlertState | None:
    """What the warehouse says; None if it was not asked, which is not that it says nothing."""
    if target is None:
        return None
    try:
        with connect(target.destination) as database:
            return alert_state.from_warehouse(database, job)
    except WarehouseError:
        return None  # it is down


def _save_in_warehouse(target: Target | None, job: str, what: AlertState) -> None:
    if target is None or target.loader:
        return
    try:
        with connect(target.destination) as database:
            alert_state.to_warehouse(database, job, what)
    except WarehouseError:
        pass  # the file knows, and the next run that has news writes both


def _send(url: str, message: str, within: float) -> str:
    """Send a message, within so many seconds; gives why that failed, without the address."""
    said: list[str] = []
    # In a thread: no timeout of requests bounds a name that is not found or a header that drips.
    call = threading.Thread(target=lambda: said.append(_post(url, message)), daemon=True)
    call.start()
    call.join(within)
    return said[0] if said else f"no answer from the webhook within {within:g} seconds"


def _post(url: str, message: str) -> str:
    text = _for_slack(mask_secrets(message)[:_LONGEST])
    try:
        with requests.post(
            url, json={"text": text}, timeout=_ANSWERS_WITHIN, allow_redirects=False, stream=True
        ) as answer:  # streamed, since its status says all
            taken = answer.ok and not answer.is_redirect
            return "" if taken else f"the webhook said {answer.status_code}"
    except Exception as error:  # an alert must not fail a run, and its words may have the address
        return f"no answer from the webhook ({type(error).__name__})"


def _for_slack(text: str) -> str:
    """Text that others wrote, so that nothing in it is a link, or calls everybody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
