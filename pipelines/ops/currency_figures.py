"""The figures of one currency: sums of rows of the marts."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from decimal import Decimal

from warehouse import mart_queries
from warehouse.mart_rows import (
    BridgeRow,
    ChangedRow,
    ChangeTotal,
    DueSum,
    ProjectSum,
    ScheduleRow,
)
from warehouse.raw import summary
from warehouse.reader import WarehouseReader

from .money import add, decimals_of

MONTHS = 12  # before and after the current one
_BRIDGE_MONTHS = 12
_PROJECTS = 15  # listed by name; the others are one row
_CHANGES = 20


@dataclass(frozen=True, kw_only=True)
class MonthFigures:
    """The milestones of one month, or of all months before or after those shown.

    Args:
        name: ``2026-11``, or ``before 2025-11``, ``after 2027-11``.
        invoiced, overdue, scheduled: The amounts by status; None if the minor unit is unknown.
        milestones: The number of milestones.
    """

    name: str
    invoiced: Decimal | None
    overdue: Decimal | None
    scheduled: Decimal | None
    milestones: int

    @property
    def total(self) -> Decimal | None:
        """The amount of all milestones of the month."""
        return add(self.invoiced, self.overdue, self.scheduled)


@dataclass(frozen=True, kw_only=True)
class StatusFigures:
    """All milestones of one currency that have one status.

    Args:
        status: As in ``billing_milestones``.
        milestones: Their number.
        amount: Their sum; None if the minor unit is unknown.
        subunits: Their sum in minor units.
    """

    status: str
    milestones: int
    amount: Decimal | None
    subunits: int


@dataclass(frozen=True, kw_only=True)
class ProjectFigures:
    """Milestones of one project that share a property, or the sum of several projects.

    Args:
        workspace_id: The project's id; None for a sum.
        project: Its title; for a sum, whose it is, such as ``12 other projects``.
        amount: The sum of their amounts; None if the minor unit is unknown.
        ages: Parts of it by the days since the date to invoice: up to 30, 60, 90, and over 90.
    """

    workspace_id: str | None
    project: str | None
    amount: Decimal | None
    ages: Sequence[Decimal | None] = ()


@dataclass(frozen=True, kw_only=True)
class CurrencyFigures:
    """The figures of one currency.

    Args:
        currency: ISO code.
        decimals: The digits after the point of its amounts.
        statuses: All milestones by status, those without any left out.
        months: Milestones with a date, by month.
        undated_invoiced: Invoiced milestones without a date; None if there are none.
        due: What can be invoiced now, by project and age; the last row sums up the others.
        due_total: The same for all projects.
        bridge: How the backlog changed in the last twelve months.
        unscheduled: Milestones without a date, by project; the last row sums up the others.
        changes: What changed, by kind.
        changed: The changes that change most money.
    """

    currency: str
    decimals: int
    statuses: Sequence[StatusFigures]
    months: Sequence[MonthFigures]
    undated_invoiced: StatusFigures | None
    due: Sequence[ProjectFigures]
    due_total: ProjectFigures
    bridge: Sequence[BridgeRow]
    unscheduled: Sequence[ProjectFigures]
    changes: Sequence[ChangeTotal]
    changed: Sequence[ChangedRow]

    @property
    def has_amounts(self) -> bool:
        """Whether the currency's minor unit is known."""
        return self.amount is not None

    @property
    def milestones(self) -> int:
        """The number of milestones in this currency."""
        return sum(each.milestones for each in self.statuses)

    @property
    def amount(self) -> Decimal | None:
        """The amount of all milestones in this currency."""
        return add(*(each.amount for each in self.statuses))

    @property
    def dated(self) -> Decimal | None:
        """The amount of the currency's milestones that have a date or an invoice."""
        return add(*(each.amount for each in self.statuses if each.status != "unscheduled"))

    @property
    def later(self) -> Decimal | None:
        """The amount of the currency's backlog that cannot be invoiced yet."""
        backlog = add(self.amount_of("scheduled"), self.amount_of("overdue"))
        due = self.due_total.amount
        return None if backlog is None or due is None else backlog - due

    def amount_of(self, status: str) -> Decimal | None:
        """Return the amount of the currency's milestones that have this status."""
        return add(*(each.amount for each in self.statuses if each.status == status))

    def count_of(self, status: str) -> int:
        """Return the number of the currency's milestones that have this status."""
        return sum(each.milestones for each in self.statuses if each.status == status)

    @property
    def anchor(self) -> str:
        """The name of the currency's section in a page, whatever characters its code has."""
        return f"currency-{self.currency.encode().hex()}"


def currency_figures(
    reader: WarehouseReader, *, as_of: date, since: datetime
) -> list[CurrencyFigures]:
    """Return the figures of each currency, the one with the most milestones first.

    Args:
        reader: The warehouse.
        as_of: Today.
        since: Changes observed after this moment count.
    """
    schedule = mart_queries.schedule(reader)
    backlog = mart_queries.due_projects(reader, _PROJECTS)
    bridge = mart_queries.bridge(reader, _BRIDGE_MONTHS)
    unscheduled = mart_queries.unscheduled(reader, _PROJECTS)
    totals = mart_queries.change_totals(reader, since)
    changed = mart_queries.changes(reader, since, _CHANGES)
    units = summary.minor_units(reader)
    found = []
    for currency in {row.currency for row in schedule} | {row.currency for row in bridge}:
        rows = [row for row in schedule if row.currency == currency]
        due = [_due(row) for row in backlog if row.currency == currency]
        found.append(
            CurrencyFigures(
                currency=currency,
                decimals=decimals_of(units.get(currency), rows),
                statuses=status_figures(rows),
                months=month_figures(rows, as_of),
                undated_invoiced=next(iter(status_figures(_undated_invoiced(rows))), None),
                due=due,
                due_total=_total(due, "all projects"),
                bridge=[row for row in bridge if row.currency == currency],
                unscheduled=[_sum(row) for row in unscheduled if row.currency == currency],
                changes=[total for total in totals if total.currency == currency],
                changed=[row for row in changed if row.currency == currency],
            )
        )
    return sorted(found, key=lambda each: (-each.milestones, each.currency))


def _undated_invoiced(rows: Iterable[ScheduleRow]) -> list[ScheduleRow]:
    """Return the rows of the schedule's invoiced milestones that have no date."""
    return [row for row in rows if row.month is None and row.status == "invoiced"]


def status_figures(rows: Iterable[ScheduleRow]) -> list[StatusFigures]:
    """Sum up rows of one currency's schedule by status, in the order of a milestone's life."""
    rows = list(rows)
    return [
        StatusFigures(
            status=status,
            milestones=sum(row.milestones for row in some),
            amount=add(*(row.amount for row in some)),
            subunits=sum(row.subunits for row in some),
        )
        for status in ("unscheduled", "scheduled", "overdue", "invoiced")
        if (some := [row for row in rows if row.status == status])
    ]


def month_figures(rows: Iterable[ScheduleRow], as_of: date) -> list[MonthFigures]:
    """Return one currency's schedule by month; months far from today are summed up.

    Args:
        rows: The rows of ``billing_schedule_monthly`` in this currency.
        as_of: Today.
    """
    first, last = _month(as_of, -MONTHS), _month(as_of, MONTHS)
    dated = [(row.month, row) for row in rows if row.month is not None]
    spans: list[tuple[str, date, date]] = [
        (f"before {first:%Y-%m}", date.min, first - timedelta(days=1)),
        *(
            (f"{month:%Y-%m}", month, month)
            for month in (_month(as_of, n) for n in range(-MONTHS, MONTHS + 1))
        ),
        (f"after {last:%Y-%m}", last + timedelta(days=1), date.max),
    ]
    if not dated:
        return []
    figures = []
    for name, start, end in spans:
        some = [row for month, row in dated if start <= month <= end]
        if not some and " " in name:
            continue
        parts = {
            status: add(*(row.amount for row in some if row.status == status))
            for status in ("invoiced", "overdue", "scheduled")
        }
        figures.append(
            MonthFigures(
                name=name,
                milestones=sum(row.milestones for row in some),
                **parts,
            )
        )
    return figures


def _month(day: date, offset: int) -> date:
    """Return the first day of the month that is so many months from a day's, for the figures."""
    index = day.year * 12 + day.month - 1 + offset
    return date(index // 12, index % 12 + 1, 1)


def _due(row: DueSum) -> ProjectFigures:
    """Return what can be invoiced now of a project, or of several, as figures by age."""
    ages = (row.age_0_30, row.age_31_60, row.age_61_90, row.age_over_90)
    return replace(_sum(row), ages=ages)


def _sum(row: ProjectSum) -> ProjectFigures:
    """Return the figures of a project, or of several that are not listed by name."""
    if row.projects > 1:
        name = f"{row.projects:,} other projects"
        return ProjectFigures(workspace_id=None, project=name, amount=row.amount)
    return ProjectFigures(workspace_id=row.workspace_id, project=row.project, amount=row.amount)


def _total(projects: Sequence[ProjectFigures], name: str) -> ProjectFigures:
    """Return the sum of the figures of projects, in one currency."""
    return ProjectFigures(
        workspace_id=None,
        project=name,
        amount=add(*(each.amount for each in projects)),
        ages=[add(*ages) for ages in zip(*(each.ages for each in projects), strict=True)],
    )
