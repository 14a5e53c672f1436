"""What is to be invoiced: the part of the billing backlog with a date up to a day, by project."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal

from warehouse import mart_queries
from warehouse.errors import WarehouseError
from warehouse.mart_rows import DueRow, Freshness
from warehouse.raw import summary
from warehouse.reader import open_reader
from warehouse.target import Target

from .figures import read_freshness
from .money import add, decimals_of


@dataclass(frozen=True, kw_only=True)
class DueSum:
    """Milestones that are due, in one currency.

    Args:
        milestones: Their number.
        amount: The sum of their amounts; None if the minor unit is unknown.
        overdue: Its part whose date is before today.
        subunits: The sum in minor units.
    """

    milestones: int
    amount: Decimal | None
    overdue: Decimal | None
    subunits: int


@dataclass(frozen=True, kw_only=True)
class DueProject:
    """What is due in one project, in one currency.

    Args:
        workspace_id: The project's id.
        project: Its title.
        sum: The sum of its milestones that are due.
        rows: These milestones, the oldest date first.
    """

    workspace_id: str
    project: str | None
    sum: DueSum
    rows: Sequence[DueRow]


@dataclass(frozen=True, kw_only=True)
class DueCurrency:
    """What is due in one currency.

    Args:
        currency: ISO code.
        decimals: The digits after the point of its amounts.
        sum: The sum over all projects.
        projects: What is due by project, the one with the largest overdue amount first.
    """

    currency: str
    decimals: int
    sum: DueSum
    projects: Sequence[DueProject]


@dataclass(frozen=True, kw_only=True)
class Due:
    """What is to be invoiced.

    Args:
        until: The last date that counts.
        freshness: How current it is, and which day is today.
        currencies: What is due by currency.
    """

    until: date
    freshness: Freshness
    currencies: Sequence[DueCurrency]


def read_due(target: Target, until: date | None = None) -> Due:
    """Read what is to be invoiced from the marts.

    Args:
        target: The warehouse.
        until: The last date that counts; None for today, in the reporting time zone.

    Raises:
        WarehouseError: If no run was validated yet, or the warehouse cannot be read.
    """
    with open_reader(target) as reader:
        freshness = read_freshness(reader)
        if freshness is None:
            raise WarehouseError(f"{reader.source} has no validated run yet: run `milestones sync`")
        last = until or freshness.as_of
        rows = mart_queries.due(reader, last)
        units, schedule = summary.minor_units(reader), mart_queries.schedule(reader)
    currencies = []
    for code in dict.fromkeys(row.currency for row in rows):
        some = [row for row in rows if row.currency == code]
        months = (row for row in schedule if row.currency == code)
        currencies.append(
            DueCurrency(
                currency=code,
                decimals=decimals_of(units.get(code), months),
                sum=_sum_up(some),
                projects=_by_project(some),
            )
        )
    return Due(until=last, freshness=freshness, currencies=currencies)


def _by_project(rows: Sequence[DueRow]) -> list[DueProject]:
    """Group the rows of one currency that are due by project."""
    projects: dict[str, list[DueRow]] = {}
    for row in rows:
        projects.setdefault(row.workspace_id, []).append(row)
    found = [
        DueProject(workspace_id=id_, project=some[0].project, sum=_sum_up(some), rows=some)
        for id_, some in projects.items()
    ]
    return sorted(found, key=lambda each: (-(each.sum.overdue or 0), -each.sum.subunits))


def _sum_up(rows: Sequence[DueRow]) -> DueSum:
    """Sum up rows of one currency that are due."""
    return DueSum(
        milestones=len(rows),
        amount=add(*(row.amount for row in rows)),
        overdue=add(*(row.amount for row in rows if row.days_overdue)),
        subunits=sum(row.amount_in_cents for row in rows),
    )
