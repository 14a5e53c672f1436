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
from pipelines.runtime.exit_codes import STOPPED_BY_SIGNAL
from warehouse import alert_state
from warehouse.alert_state import AlertState
from warehouse.database import connect
from warehouse.errors import WarehouseError
from warehouse.target import Target

from .alert_policy import JobOutcome, decide_alert

_TIMEOUT = 15.0  # seconds for the whole call: requests' own timeout is for each read
_TIMEOUT_WHEN_STOPPED = 1.5  # seconds: a load that drains may have had eight of the ten it has
_MAX_CHARACTERS = 3_000  # Slack shows no more than about that many


def send_alert(
    settings: AlertSettings,
    outcome: JobOutcome,
    *,
    destination: str,
    target: Target | None,
    job: str,
    now: datetime,
    note: Callable[[str], None],
) -> None:
    """Tell the webhook what changed, if anything did. Whatever fails here is noted, not raised.

    Args:
        settings: ``[alerts]``.
        outcome: How the job's run ended.
        destination: ``duckdb`` or ``postgres``.
        target: The warehouse; None if it is not to be asked.
        job: What to call the job; each has a state of its own.
        now: The time of this machine, UTC.
        note: Told in one line what went wrong.
    """
    if not settings.webhook_url:
        return
    path = Path(LOADER_FILE).parent / f"alerts-{destination}-{job}.json"
    stored = AlertState() if destination == "duckdb" else _state_in_warehouse(target, job)
    before = alert_state.later(alert_state.read_file(path), stored or AlertState())
    decision = decide_alert(
        before,
        outcome,
        after=settings.after,
        job=f"milestones {job}, {destination} on {socket.gethostname()},",
        now=now,
        warehouse_read=stored is not None,
    )
    state = decision.state
    if decision.message and (failure := _post(settings.webhook_url, decision.message, outcome)):
        note(f"the alert was not sent, and will be tried again by the next run: {failure}")
        state = _with_untold(before, outcome, now if stored is not None else before.saved_at)
    if state == before:
        return
    try:
        alert_state.write_file(path, state)
    except WarehouseError as error:
        note(f"the alert may come again: {error}")
    if stored is not None or state.saved_at == now:
        _save_in_warehouse(target, job, state)


def _with_untold(before: AlertState, outcome: JobOutcome, saved_at: datetime | None) -> AlertState:
    """The state before, and what happened once: the next run meets the rest of it again."""
    untold = tuple(dict.fromkeys((*before.untold, *outcome.happened)))
    if untold == before.untold:
        return before
    return replace(before, untold=untold, saved_at=saved_at)


def _state_in_warehouse(target: Target | None, job: str) -> AlertState | None:
    """What the warehouse says; None if it was not asked, which is not that it says nothing."""
    if target is None:
        return None
    try:
        with connect(target.destination) as database:
            return alert_state.read_from_warehouse(database, job)
    except WarehouseError:
        return None  # it is down


def _save_in_warehouse(target: Target | None, job: str, state: AlertState) -> None:
    if target is None or target.loader:
        return
    try:
        with connect(target.destination) as database:
            alert_state.write_to_warehouse(database, job, state)
    except WarehouseError:
        pass  # the file knows, and the next run that has news writes both


def _post(url: str, message: str, outcome: JobOutcome) -> str:
    """Send a message, within some seconds; gives why that failed, without the address."""
    is_stopped = outcome.exit_code in STOPPED_BY_SIGNAL
    timeout = _TIMEOUT_WHEN_STOPPED if is_stopped else _TIMEOUT
    failures: list[str] = []
    # In a thread: no timeout of requests bounds a name that is not found or a header that drips.
    call = threading.Thread(target=lambda: failures.append(_request(url, message)), daemon=True)
    call.start()
    call.join(timeout)
    return failures[0] if failures else f"no answer from the webhook within {timeout:g} seconds"


def _request(url: str, message: str) -> str:
    """Send one request; gives why that failed, empty if it did not."""
    text = _escape_for_slack(mask_secrets(message)[:_MAX_CHARACTERS])
    try:
        with requests.post(
            url, json={"text": text}, timeout=_TIMEOUT, allow_redirects=False, stream=True
        ) as response:  # streamed, since its status says all
            is_taken = response.ok and not response.is_redirect
            return "" if is_taken else f"the webhook said {response.status_code}"
    except Exception as error:  # an alert must not fail a run, and its words may have the address
        return f"no answer from the webhook ({type(error).__name__})"


def _escape_for_slack(text: str) -> str:
    """Text that others wrote, so that nothing in it is a link, or calls everybody."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
