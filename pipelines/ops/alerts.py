"""Send an alert to a webhook once for each change of state of the job."""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path

from pipelines.config.settings import AlertSettings
from pipelines.config.targets import LOADER_FILE
from pipelines.runtime.exit_codes import STOPPED_BY_SIGNAL
from warehouse import alert_state
from warehouse.alert_state import AlertState
from warehouse.database import connect
from warehouse.errors import WarehouseError
from warehouse.target import Target

from . import webhook
from .alert_policy import JobOutcome, decide_alert

_TIMEOUT_WHEN_STOPPED = 1.5  # seconds: ending a load may have taken eight of the ten


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
    """Send an alert if the state of the job changed; log a failure to send, never raise it.

    Args:
        settings: The settings of ``[alerts]``.
        outcome: The outcome of the job's run.
        destination: ``duckdb`` or ``postgres``.
        target: The warehouse; None to leave it unread.
        job: The name of the job; each job has its own alert state.
        now: The time of this machine, UTC.
        note: Called with one line that says what failed.
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
    is_stopped = outcome.exit_code in STOPPED_BY_SIGNAL
    timeout = _TIMEOUT_WHEN_STOPPED if is_stopped else webhook.TIMEOUT
    if decision.message and (
        failure := webhook.post(settings.webhook_url, decision.message, timeout)
    ):
        note(f"the alert was not sent: {failure}. The next run sends it again.")
        state = _with_untold(before, outcome, now if stored is not None else before.saved_at)
    if state == before:
        return
    try:
        alert_state.write_file(path, state)
    except WarehouseError as error:
        note(f"the alert may be sent twice: {error}")
    if stored is not None or state.saved_at == now:
        _save_in_warehouse(target, job, state)


def _with_untold(before: AlertState, outcome: JobOutcome, saved_at: datetime | None) -> AlertState:
    """Return the last alert state with what happened once, since no alert of it was sent."""
    untold = tuple(dict.fromkeys((*before.untold, *outcome.happened)))
    if untold == before.untold:
        return before
    return replace(before, untold=untold, saved_at=saved_at)


def _state_in_warehouse(target: Target | None, job: str) -> AlertState | None:
    """Return the alert state of the warehouse, empty if it has none; None if it was not read."""
    if target is None:
        return None
    try:
        with connect(target.destination) as database:
            return alert_state.read_from_warehouse(database, job)
    except WarehouseError:
        return None  # the warehouse is down


def _save_in_warehouse(target: Target | None, job: str, state: AlertState) -> None:
    """Save the alert state in a Postgres warehouse; ignore a warehouse that cannot be used."""
    if target is None or target.loader:
        return
    try:
        with connect(target.destination) as database:
            alert_state.write_to_warehouse(database, job, state)
    except WarehouseError:
        pass  # the file has it, and the next change of state writes both
