"""Queries of the marts for the close of a month: what is frozen, and whether it can be closed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Protocol

from warehouse.database import DATASET, MARTS, STAGING
from warehouse.ledger.period import MILESTONE_COLUMNS, CloseFigure, CloseMilestone, money
from warehouse.models.calendar import Period

_AMOUNTS = (
    "opening", "new", "increased", "decreased", "invoiced", "deleted", "closing", "dated", "billed",
)  # fmt: skip
_SCAN = f"from {DATASET}.sync_runs where status = 'proven' and mode = 'scan'"

_IS_BUILT = (  # by this release
    "select 1 from information_schema.tables "
    f"where table_schema = '{STAGING}' and table_name = 'backlog_movements'"
)
# A milestone's client is that of its last version's project, for all its versions: otherwise a
# backlog could be new for one client, and be invoiced for another.
_FIGURES = f"""
with movements as (
    select h.client_id, h.client, v.*, v.moment >= timestamptz '{{starts_at}}' as is_in_month
    from {STAGING}.backlog_movements v
    join {MARTS}.billing_milestone_history h on h.id = v.id and h.valid_to is null
    where v.moment < timestamptz '{{ends_at}}'
),
milestones as (
    select
        client_id, client, currency, amount,
        coalesce(date_to_invoice between date '{{first_day}}' and date '{{last_day}}', false)
            as is_dated,
        coalesce(
            invoice_date between date '{{first_day}}' and date '{{last_day}}'
            and invoice_state in ('issued', 'paid'),
            false
        ) as is_billed
    from {MARTS}.billing_milestones
),
parts as (
    select
        client_id, client, currency,
        sum(case when is_in_month then 0 else net end) as opening,
        sum(case when is_in_month then new else 0 end) as new,
        sum(case when is_in_month then increased else 0 end) as increased,
        sum(case when is_in_month then decreased else 0 end) as decreased,
        sum(case when is_in_month then invoiced else 0 end) as invoiced,
        sum(case when is_in_month then deleted else 0 end) as deleted,
        sum(net) as closing,
        0 as dated_milestones, 0 as dated, 0 as billed_milestones, 0 as billed
    from movements
    group by client_id, client, currency
    union all
    select
        client_id, client, currency, 0, 0, 0, 0, 0, 0, 0,
        count(case when is_dated then 1 end),
        sum(case when is_dated then amount else 0 end),
        count(case when is_billed then 1 end),
        sum(case when is_billed then amount else 0 end)
    from milestones
    where is_dated or is_billed
    group by client_id, client, currency
)
select
    p.client_id, p.client, p.currency, c.unit_per_subunit as unit,
    sum(p.opening) as opening, sum(p.new) as new, sum(p.increased) as increased,
    sum(p.decreased) as decreased, sum(p.invoiced) as invoiced, sum(p.deleted) as deleted,
    sum(p.closing) as closing,
    sum(p.dated_milestones)::bigint as dated_milestones, sum(p.dated) as dated,
    sum(p.billed_milestones)::bigint as billed_milestones, sum(p.billed) as billed
from parts p
left join {DATASET}.currencies c on c.iso_code = p.currency
group by p.client_id, p.client, p.currency, c.unit_per_subunit
order by p.currency, p.client nulls last, p.client_id
"""


class Reader(Protocol):
    """A reader of the warehouse."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query on the marts."""

    def records(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query on the marts, by column name."""


@dataclass(frozen=True, kw_only=True)
class ObservedTime:
    """The time that the warehouse covers, by Kantata's clock.

    Args:
        reporting_timezone: The time zone that the marts were built in.
        first_scan_started_at: The start of the first validated full scan.
        last_scan_started_at: The start of the last one.
        read_up_to: The start of the last validated run of the whole account.
        observed_until: When the latest version was observed.
    """

    reporting_timezone: str
    first_scan_started_at: datetime
    last_scan_started_at: datetime
    read_up_to: datetime
    observed_until: datetime | None


def observed_time(reader: Reader) -> ObservedTime | None:
    """Return the time that the warehouse covers for a close; None before this release's marts."""
    if not reader.rows(_IS_BUILT):
        return None
    rows = reader.records(
        f"""select
            (select reporting_timezone from {STAGING}.today) as reporting_timezone,
            (select min(coalesce(cursor_at, started_at)) {_SCAN}) as first_scan_started_at,
            (select max(coalesce(cursor_at, started_at)) {_SCAN}) as last_scan_started_at,
            (select max(coalesce(cursor_at, started_at)) from {DATASET}.sync_runs
                where status = 'proven' and mode <> 'touched') as read_up_to,
            (select max(valid_from) from {MARTS}.billing_milestone_history) as observed_until"""
    )
    found = ObservedTime(**rows[0])
    return found if found.reporting_timezone and found.first_scan_started_at else None


def frozen_milestones(reader: Reader, month: Period, last_day: date) -> list[CloseMilestone]:
    """Return the milestones that the close of a month freezes, by id.

    Args:
        reader: The warehouse.
        month: The month.
        last_day: Its last day.
    """
    lies_in = f"between date '{month.first_day}' and date '{last_day}'"
    names = ", ".join(name for name in MILESTONE_COLUMNS if name != "milestone_id")
    return [
        CloseMilestone(**row)
        for row in reader.records(
            f"select id as milestone_id, {names} from {MARTS}.billing_milestones "
            f"where date_to_invoice {lies_in} or invoice_date {lies_in} order by id"
        )
    ]


def frozen_figures(reader: Reader, month: Period, last_day: date) -> list[CloseFigure]:
    """Return the figures that the close of a month freezes, by client and currency.

    Clients and currencies without any amount or milestone are left out.

    Args:
        reader: The warehouse.
        month: The month.
        last_day: Its last day.
    """
    rows = reader.records(
        _FIGURES.format(
            first_day=month.first_day,
            last_day=last_day,
            starts_at=month.starts_at.isoformat(),
            ends_at=month.ends_at.isoformat(),
        )
    )
    decimals = _decimals(reader, rows)
    figures = [_figure(row, decimals[row["currency"]]) for row in rows]
    return [figure for figure in figures if not _is_nothing(figure)]


def _figure(row: dict[str, Any], decimals: int) -> CloseFigure:
    """Return the figure of a close in a row of its query; no amount without a minor unit."""
    amounts = {name: None if row["unit"] is None else money(row[name]) for name in _AMOUNTS}
    return CloseFigure(
        client_id=row["client_id"],
        client=row["client"],
        currency=row["currency"],
        decimals=decimals,
        dated_milestones=row["dated_milestones"],
        billed_milestones=row["billed_milestones"],
        **amounts,
    )


def _is_nothing(figure: CloseFigure) -> bool:
    """Return whether a figure has no amount, and no milestone."""
    counts = (figure.dated_milestones, figure.billed_milestones)
    return not any(counts) and all(getattr(figure, name) == 0 for name in _AMOUNTS)


def _decimals(reader: Reader, rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Return the digits that show each figure of a currency exactly, by currency."""
    found: dict[str, int] = {}
    for row in rows:
        amounts = [row[name] for name in _AMOUNTS]
        for number in [row["unit"], *amounts]:
            if number is not None:
                digits = _digits(Decimal(number))
                found[row["currency"]] = max(found.get(row["currency"], 0), digits)
    return {row["currency"]: found.get(row["currency"], 2) for row in rows}


def _digits(number: Decimal) -> int:
    """Return the digits after the point of a figure, without trailing zeros."""
    return max(0, -int(number.normalize().as_tuple().exponent)) if number else 0
