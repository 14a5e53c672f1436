"""Close a month: freeze its figures in the ledger; show them again; reopen the month."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from pipelines.runtime.clock import Now
from pipelines.writeback.fields import check_text
from pipelines.writeback.ledger_access import open_ledger
from warehouse.errors import LedgerDamaged, PeriodRefused
from warehouse.ledger.closes import (
    add_close,
    add_reopening,
    db_user,
    next_number,
    read_closes,
)
from warehouse.ledger.period import PeriodClose, Reopening
from warehouse.ledger.store import Ledger
from warehouse.models.calendar import Period, local_day, months
from warehouse.period_queries import (
    ObservedTime,
    frozen_figures,
    frozen_milestones,
    observed_time,
)
from warehouse.raw import runs
from warehouse.reader import WarehouseReader, open_reader
from warehouse.target import Target

_EXAMPLE = "write it as 2026-10"


@dataclass(frozen=True)
class ShownClose:
    """A closed month, to be shown.

    Args:
        close: The close, as it is stored.
        timezone_now: The reporting time zone of the settings now.
    """

    close: PeriodClose
    timezone_now: str

    @property
    def has_other_timezone(self) -> bool:
        """Whether the reporting time zone has changed since; what was frozen stays as it is."""
        return self.timezone_now != self.close.reporting_timezone


def parse_month(text: str) -> date:
    """Return the first day of the month that a person named.

    Raises:
        PeriodRefused: If it is no month.
    """
    try:
        if not re.fullmatch("[0-9]{4}-[0-9]{2}", text):
            raise ValueError
        month = date.fromisoformat(f"{text}-01")
    except ValueError:
        raise PeriodRefused(f"{text!r} is not a month: {_EXAMPLE}") from None
    if not 1900 <= month.year < 9999:
        raise PeriodRefused(f"{text!r} is not a month of this calendar: {_EXAMPLE}")
    return month


def close_period(target: Target, month: date, actor: str, now: Now) -> ShownClose:
    """Close a month: freeze its figures, as the last validated run left them, in the ledger.

    Args:
        target: The warehouse.
        month: Its first day.
        actor: Who closes it.
        now: The clock of this machine, UTC.

    Raises:
        PeriodRefused: If it cannot be closed, or not yet.
        WarehouseError: If the warehouse or the ledger cannot be used.
    """
    with open_reader(target) as reader:
        observed = _checked_time(reader, target)
        period = _checked_period(month, observed, now())
        run = runs.last_proven_run(reader)
        assert run  # noqa: S101 - there is a validated full scan
        with open_ledger(target, now, reader=reader, create=True) as ledger:
            _check_open(ledger, month, observed)
            last_day = _last_day(month)
            figures = frozen_figures(reader, period, last_day)
            milestones = frozen_milestones(reader, period, last_day)
            with ledger.transaction():
                _check_open(ledger, month, observed)  # again: reading takes a while
                number = next_number(ledger)
                close = PeriodClose(
                    close_number=number,
                    month=month,
                    closed_by=actor,
                    closed_at=now(),
                    run_id=run.run_id,
                    observed_until=observed.observed_until,
                    reporting_timezone=observed.reporting_timezone,
                    db_user=db_user(ledger),
                    figures=figures,
                    milestones=milestones,
                )
                add_close(ledger, close)
            return _shown(ledger, number, target)


def show_close(target: Target, month: date) -> ShownClose:
    """Return a month as it was last closed.

    Raises:
        PeriodRefused: If it never was.
        LedgerDamaged: If somebody altered what was frozen.
        WarehouseError: If the ledger cannot be used.
    """
    with open_ledger(target) as ledger:
        found = [c for c in read_closes(ledger, headers_only=True) if c.month == month]
        if not found:
            raise PeriodRefused(
                f"{month:%Y-%m} was never closed. Close it: milestones close {month:%Y-%m} "
                "--as NAME"
            )
        return _shown(ledger, found[-1].close_number, target)


def reopen_period(target: Target, month: date, reason: str, actor: str, now: Now) -> ShownClose:
    """Reopen a closed month, so that it can be closed again; what was frozen is kept.

    Args:
        target: The warehouse.
        month: Its first day.
        reason: Why.
        actor: Who reopens it.
        now: The clock of this machine, UTC.

    Raises:
        PeriodRefused: If it is not closed, or a later month is.
        WarehouseError: If the ledger cannot be used.
    """
    reason = " ".join(check_text("--reason", reason).split())
    if not reason:
        raise PeriodRefused("--reason is empty: say why the month is reopened")
    with open_ledger(target, now) as ledger, ledger.transaction():
        closes = read_closes(ledger, headers_only=True)
        close = _current(closes, month)
        if close is None:
            raise PeriodRefused(
                f"{month:%Y-%m} is not closed, so there is nothing to reopen. See when it was: "
                f"milestones close --show {month:%Y-%m}"
            )
        if later := [c.month for c in closes if c.month > month and c.reopening is None]:
            raise PeriodRefused(
                f"{max(later):%Y-%m} is closed, and its backlog begins with that of the months "
                f"before it: reopen it first (milestones reopen {max(later):%Y-%m} --reason TEXT "
                "--as NAME)"
            )
        reopening = Reopening(
            reopened_by=actor, reopened_at=now(), reason=reason, db_user=db_user(ledger)
        )
        add_reopening(ledger, close.close_number, reopening)
        (reopened,) = read_closes(ledger, [close.close_number], headers_only=True)
        return ShownClose(reopened, target.timezone)


def _shown(ledger: Ledger, number: int, target: Target) -> ShownClose:
    """Return a close of the ledger, to be shown.

    Raises:
        LedgerDamaged: If somebody altered it.
    """
    (close,) = read_closes(ledger, [number])
    if not close.is_intact:
        raise LedgerDamaged(
            f"the closed month {close.month:%Y-%m} was altered in the ledger: its rows are not "
            f"those of the digest {close.digest}. Compare them with a backup, and with "
            "kantata.period_close_figures in the warehouse. To close the month as it is now: "
            f"milestones reopen {close.month:%Y-%m} --reason TEXT --as NAME"
        )
    return ShownClose(close, target.timezone)


def _checked_time(reader: WarehouseReader, target: Target) -> ObservedTime:
    """Return the time that the warehouse covers for a close.

    Raises:
        PeriodRefused: If its marts are missing, or have another time zone than the settings.
    """
    observed = observed_time(reader)
    if observed is None:
        raise PeriodRefused(
            f"{reader.source} has no marts of this release after a full scan: run `milestones sync "
            "--full`"
        )
    if observed.reporting_timezone != target.timezone:
        raise PeriodRefused(
            f"the reporting time zone is {target.timezone}, and the marts were built in "
            f"{observed.reporting_timezone}: run `milestones sync` first"
        )
    return observed


def _checked_period(month: date, observed: ObservedTime, now: datetime) -> Period:
    """Return the month to close, with its first and last moment.

    Raises:
        PeriodRefused: If it is not over, not read to its end, or before the first observed month.
    """
    (period,) = months(month, month, observed.reporting_timezone)
    zone = observed.reporting_timezone
    if max(now, observed.read_up_to) < period.ends_at:
        raise PeriodRefused(
            f"{month:%Y-%m} is not over yet: it ends at {period.ends_at:%Y-%m-%d %H:%M} UTC "
            f"({zone}). Close it after a full scan then"
        )
    if observed.last_scan_started_at < period.ends_at:
        raise PeriodRefused(
            f"no full scan was validated since {month:%Y-%m} ended at "
            f"{period.ends_at:%Y-%m-%d %H:%M} UTC ({zone}); the last one began at "
            f"{observed.last_scan_started_at:%Y-%m-%d %H:%M} UTC: run `milestones sync --full`"
        )
    first = _first_month(observed)
    if month < first:
        raise PeriodRefused(
            f"{month:%Y-%m} is before {first:%Y-%m}, the first month that was observed: nothing is "
            "known of it"
        )
    return period


def _first_month(observed: ObservedTime) -> date:
    """Return the first month that can be closed: that of the first validated full scan."""
    return local_day(observed.first_scan_started_at, observed.reporting_timezone).replace(day=1)


def _check_open(ledger: Ledger, month: date, observed: ObservedTime) -> None:
    """Check that a month is not closed, and all observed months before it are.

    Raises:
        PeriodRefused: If not.
    """
    closes = read_closes(ledger, headers_only=True)
    if (close := _current(closes, month)) is not None:
        raise PeriodRefused(
            f"{month:%Y-%m} was already closed, by {close.closed_by} at "
            f"{close.closed_at:%Y-%m-%d %H:%M} UTC. See it: milestones close --show {month:%Y-%m}. "
            f"To close it again, first: milestones reopen {month:%Y-%m} --reason TEXT --as NAME"
        )
    for earlier in _months_before(month, _first_month(observed)):
        if _current(closes, earlier) is None:
            raise PeriodRefused(
                f"{earlier:%Y-%m} is still open, and months are closed in order: close it first "
                f"(milestones close {earlier:%Y-%m} --as NAME)"
            )


def _months_before(month: date, first: date) -> Iterator[date]:
    """Yield the first day of each month from the first observed one to the one before a month."""
    while first < month:
        yield first
        first = _last_day(first) + timedelta(days=1)


def _current(closes: Sequence[PeriodClose], month: date) -> PeriodClose | None:
    """Return the close of a month that was not reopened; None if the month is open."""
    return next((c for c in closes if c.month == month and c.reopening is None), None)


def _last_day(month: date) -> date:
    """Return the last day of a month to close."""
    return (month + timedelta(days=31)).replace(day=1) - timedelta(days=1)
