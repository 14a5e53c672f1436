"""The weekly digest: what is to be invoiced, posted to the webhook on one day of the week."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import date, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

from pipelines.config.settings import WEEKDAYS, AlertSettings
from pipelines.config.targets import LOADER_FILE
from pipelines.runtime.text import visible
from warehouse import alert_state
from warehouse.alert_state import AlertState
from warehouse.database import connect
from warehouse.errors import WarehouseError
from warehouse.target import Target

from . import webhook
from .due import Due, DueCurrency, read_due
from .money import money_text

_JOB = "digest"  # the name of its state among the alert states
_CURRENCIES, _PROJECTS = 8, 3  # in one message


def send_digest(
    settings: AlertSettings, target: Target, *, now: datetime, note: Callable[[str], None]
) -> None:
    """Post the digest if its day has come since the last one; log a failure, never raise it.

    Args:
        settings: The settings of ``[alerts]``.
        target: The warehouse, after a run that published it.
        now: The time of this machine, UTC.
        note: Called with one line that says what failed.
    """
    if not (settings.webhook_url and settings.digest):
        return
    kind = "duckdb" if target.loader else "postgres"
    path = Path(LOADER_FILE).parent / f"alerts-{kind}-{_JOB}.json"
    zone = ZoneInfo(target.timezone)
    last = alert_state.later(_in_warehouse(target), alert_state.read_file(path)).since
    today = now.astimezone(zone).date()
    if not is_due(settings.digest, today, last and last.astimezone(zone).date()):
        return
    try:
        failure = webhook.post(settings.webhook_url, digest_message(read_due(target)))
    except WarehouseError as error:
        failure = str(error)
    if failure:
        note(f"the digest was not sent: {failure}. The next run sends it.")
        return
    state = AlertState(condition=_JOB, since=now, saved_at=now)
    try:
        alert_state.write_file(path, state)
    except WarehouseError as error:
        note(f"the digest may be sent twice: {error}")
    if not target.loader:
        with suppress(WarehouseError), connect(target.destination) as database:
            alert_state.write_to_warehouse(database, _JOB, state)


def is_due(weekday: str, today: date, last_sent: date | None) -> bool:
    """Return whether the digest is due: its day has come since it was sent last.

    A day without a successful run does not lose it: the next run sends it. Before the first one,
    only its own day counts.

    Args:
        weekday: The day of the week, such as ``monday``.
        today: Today, in the reporting time zone.
        last_sent: The day on which it was sent last; None if it never was.
    """
    days_since = (today.weekday() - WEEKDAYS.index(weekday)) % 7
    if last_sent is None or last_sent > today:  # to come: written while a clock was wrong
        return days_since == 0
    return last_sent < today - timedelta(days=days_since)


def digest_message(due: Due) -> str:
    """Return the digest of what is due as a message, with the sum of each currency."""
    lines = [f"To invoice, dated up to {due.until} (`milestones due` lists the milestones):"]
    lines += [_line(each) for each in due.currencies[:_CURRENCIES]]
    if more := len(due.currencies) - _CURRENCIES:
        lines += [f"• and {more} more currencies"] if more > 0 else []
    if not due.currencies:
        lines.append("• nothing")
    return "\n".join(lines)


def _line(each: DueCurrency) -> str:
    """Return the digest's line of one currency."""
    largest = [
        f"{project.project or project.workspace_id} {_money(project.sum.amount, each.decimals)}"
        for project in each.projects[:_PROJECTS]
    ]
    return visible(
        f"• {each.currency} {_money(each.sum.amount, each.decimals)} in "
        f"{each.sum.milestones:,} milestones, {_money(each.sum.overdue, each.decimals)} overdue; "
        f"the most: {', '.join(largest)}"
    )


def _money(amount: Decimal | None, decimals: int) -> str:
    """Return an amount of the digest as text."""
    return "an unknown amount" if amount is None else money_text(amount, decimals)


def _in_warehouse(target: Target) -> AlertState:
    """Return the digest's state in a Postgres warehouse; an empty one without."""
    if target.loader:
        return AlertState()
    with suppress(WarehouseError), connect(target.destination) as database:
        return alert_state.read_from_warehouse(database, _JOB)
    return AlertState()
