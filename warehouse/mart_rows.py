"""Rows of the marts, as people's figures are made of them.

Amounts are in money, None if the minor unit of their currency is unknown.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal


@dataclass(frozen=True, kw_only=True)
class Freshness:
    """How current and complete the marts are: ``data_freshness``, with the time in UTC."""

    as_of: date
    reporting_timezone: str
    models_run_id: str
    read_up_to: datetime
    last_proven_at: datetime
    last_scan_at: datetime
    first_scan_at: datetime
    last_run_status: str
    last_run_error: str | None
    milestones: int
    out_of_reach: int
    rejected_records: int


@dataclass(frozen=True, kw_only=True)
class ScheduleRow:
    """A row of ``billing_schedule_monthly``; without a month if its milestones have no date."""

    month: date | None
    currency: str
    status: str
    milestones: int
    subunits: int
    amount: Decimal | None


@dataclass(frozen=True, kw_only=True)
class ProjectSum:
    """Milestones of one project and currency that share a property, or of several projects.

    Args:
        currency: ISO code.
        projects: The number of projects.
        workspace_id: The project's id; of several projects, one of them.
        project: Its title.
        amount: The sum of the amounts.
    """

    currency: str
    projects: int
    workspace_id: str
    project: str | None
    amount: Decimal | None


@dataclass(frozen=True, kw_only=True)
class DueSum(ProjectSum):
    """What can be invoiced now, in parts by the days since the date to invoice."""

    age_0_30: Decimal | None
    age_31_60: Decimal | None
    age_61_90: Decimal | None
    age_over_90: Decimal | None


@dataclass(frozen=True, kw_only=True)
class BridgeRow:
    """A row of ``backlog_bridge``: how the backlog of one currency changed in one month."""

    month: date
    currency: str
    opening: Decimal | None
    new: Decimal | None
    increased: Decimal | None
    decreased: Decimal | None
    invoiced: Decimal | None
    deleted: Decimal | None
    closing: Decimal | None


@dataclass(frozen=True, kw_only=True)
class SlippedRow:
    """A row of ``milestone_slippage``: a milestone that moved to a later date."""

    id: str
    title: str | None
    project: str | None
    currency: str
    amount: Decimal | None
    first_date_to_invoice: date
    date_to_invoice: date
    days_slipped: int


@dataclass(frozen=True, kw_only=True)
class DueRow:
    """A row of ``billing_milestones`` that can be invoiced by a given day."""

    id: str
    title: str | None
    workspace_id: str
    project: str | None
    currency: str
    date_to_invoice: date
    days_overdue: int
    amount_in_cents: int
    amount: Decimal | None


@dataclass(frozen=True, kw_only=True)
class ChangedRow:
    """A row of ``billing_milestone_history``: a version and the values of the version before.

    Args:
        kind: What changed, such as ``amount changed``; the first of several.
        observed_at: When the connector first observed it, UTC.
    """

    id: str
    title: str | None
    project: str | None
    kind: str
    observed_at: datetime
    currency: str
    amount: Decimal | None
    date_to_invoice: date | None
    previous_currency: str | None
    previous_amount: Decimal | None
    previous_date_to_invoice: date | None


@dataclass(frozen=True, kw_only=True)
class ChangeTotal:
    """The versions of one kind and currency, and what they add to the sum of all milestones."""

    currency: str
    kind: str
    versions: int
    net: Decimal | None
