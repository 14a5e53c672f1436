"""Queries of the marts for people's figures: each returns rows of one mart, or sums of them.

Amounts are in money, None if the minor unit of their currency is unknown. No query adds up amounts
of two currencies. The rows have the types that both engines give: whole numbers, decimals, dates.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, Protocol

from warehouse.database import DATASET, MARTS

from .mart_rows import (
    BridgeRow,
    ChangedRow,
    ChangeTotal,
    DueRow,
    DueSum,
    Freshness,
    ProjectSum,
    ScheduleRow,
    SlippedRow,
)
from .models.metrics import metrics


class Records(Protocol):
    """A connection to the warehouse, or a reader of it."""

    def records(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a query on the marts, by column name."""


class Rows(Protocol):
    """A connection to the warehouse, or a reader of it."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query on the marts."""


_HAS_SCHEDULE = (
    "select table_name from information_schema.tables "
    f"where table_schema = '{MARTS}' and table_name = 'billing_schedule_monthly'"
)
_HAS_OBSERVED_UNTIL = (  # not in marts that an earlier release built last
    "select column_name from information_schema.columns where table_schema = "
    f"'{MARTS}' and table_name = 'data_freshness' and column_name = 'first_scan_observed_until'"
)
# The first kind that fits counts. The order is that of the report.
CHANGE_KINDS = (
    "new",
    "deleted",
    "restored",
    "invoiced",
    "taken off an invoice",
    "currency changed",
    "amount changed",
    "date moved",
    "other fields",
)
_KIND = """case
        when h.version = 1 then 'new'
        when h.change_type = 'deleted' then 'deleted'
        when h.previous_change_type = 'deleted' then 'restored'
        when h.previous_invoice_id is null and h.invoice_id is not null then 'invoiced'
        when h.previous_invoice_id is not null and h.invoice_id is null
            then 'taken off an invoice'
        when h.currency <> h.previous_currency then 'currency changed'
        when h.amount_in_cents <> h.previous_amount_in_cents then 'amount changed'
        when h.date_to_invoice is distinct from h.previous_date_to_invoice then 'date moved'
        else 'other fields'
    end"""


def _observed(reader: Records, since: datetime) -> str:
    """Return the versions observed after a moment, for a query's from; see ``changes``."""
    end = "first_scan_observed_until" if reader.records(_HAS_OBSERVED_UNTIL) else "first_scan_at"
    return (
        f"{MARTS}.billing_milestone_history h "
        f"left join {DATASET}.workspaces w on w.id = h.workspace_id "
        f"cross join (select {end} as first_scan_until from {MARTS}.data_freshness) f "
        f"where h.valid_from > timestamptz '{since.isoformat()}' "
        "and (h.version > 1 or h.valid_from > f.first_scan_until)"
    )


def freshness(reader: Records) -> Freshness | None:
    """Return how current the marts are; None before the first build after a validated run."""
    names = ", ".join(Freshness.__dataclass_fields__)
    rows = reader.records(f"select {names} from {MARTS}.data_freshness")
    complete = (row for row in rows if row["read_up_to"] and row["first_scan_at"])
    return next((Freshness(**row) for row in complete), None)


def schedule(reader: Records) -> list[ScheduleRow]:
    """Return all milestones that are not deleted by month, currency and status, in this order.

    Returns:
        The rows; none before the marts are built for the first time.
    """
    if not reader.records(_HAS_SCHEDULE):
        return []
    rows = reader.records(
        f"select month, currency, status, milestones, subunits, amount "
        f"from {MARTS}.billing_schedule_monthly order by month nulls last, currency, status"
    )
    return [ScheduleRow(**row | {"subunits": int(row["subunits"])}) for row in rows]


_AGES = ("age_0_30", "age_31_60", "age_61_90", "age_over_90")


def _sum_of(name: str) -> str:
    """Return the SQL of a sum of amounts, null if one is unknown, for the figures of projects."""
    return f"case when count({name}) = count(*) then sum({name}) end as {name}"


def _first_projects(sql: str, names: Sequence[str], order: str, limit: int) -> str:
    """Return the SQL of the first projects of each currency, and of the sum of all others.

    Args:
        sql: A select with a row for each project and currency.
        names: Its columns with amounts.
        order: The order of the projects of one currency.
        limit: The most projects.
    """
    return (
        f"select currency, count(*) as projects, min(workspace_id) as workspace_id, "
        f"min(project) as project, {', '.join(map(_sum_of, names))} from (select p.*, least("
        f"row_number() over (partition by currency order by {order}), {int(limit) + 1}) as place "
        f"from ({sql}) p) placed group by currency, place order by currency, place"
    )


def due_projects(reader: Records, limit: int) -> list[DueSum]:
    """Return what can be invoiced now by currency and project, the largest amount first.

    Args:
        reader: The warehouse.
        limit: The most projects of a currency; a row after them sums up the others.
    """
    is_due = " or ".join(f"coalesce({age}, 1) <> 0" for age in _AGES)
    sql = f"select *, {' + '.join(_AGES)} as due from {MARTS}.billing_backlog where {is_due}"
    order = "due desc nulls last, subunits desc, workspace_id"
    rows = reader.records(_first_projects(sql, ("due", *_AGES), order, limit))
    return [DueSum(amount=row.pop("due"), **row) for row in rows]


def bridge(reader: Records, months: int) -> list[BridgeRow]:
    """Return how the backlog changed in each of the last months, by currency and month.

    Args:
        reader: The warehouse.
        months: The number of months, the current one included.
    """
    return [
        BridgeRow(**row)
        for row in reader.records(
            f"select {', '.join(BridgeRow.__dataclass_fields__)} from {MARTS}.backlog_bridge b "
            f"where month > (select max(month) from {MARTS}.backlog_bridge) "
            f"- interval '{int(months)} months' order by currency, month"
        )
    ]


def unscheduled(reader: Records, limit: int) -> list[ProjectSum]:
    """Return milestones without a date and an invoice by project, the largest amount first.

    Args:
        reader: The warehouse.
        limit: The most projects of a currency; a row after them sums up the others.
    """
    sql = (
        "select workspace_id, project, currency, sum(amount_in_cents) as subunits, "
        f"case when count(amount) = count(*) then sum(amount) end as amount "
        f"from {MARTS}.billing_milestones where {metrics()['unscheduled'].condition} "
        "group by workspace_id, project, currency"
    )
    order = "subunits desc, workspace_id"
    rows = reader.records(_first_projects(sql, ("amount",), order, limit))
    return [ProjectSum(**row) for row in rows]


def slips(reader: Records, limit: int) -> list[SlippedRow]:
    """Return the milestones that slipped the most and are not invoiced, the longest first."""
    return [
        SlippedRow(**row)
        for row in reader.records(
            "select s.id, s.title, s.project, s.currency, m.amount, s.first_date_to_invoice, "
            f"s.date_to_invoice, s.days_slipped from (select * from {MARTS}.milestone_slippage "
            "where days_slipped > 0 and status <> 'invoiced' "
            f"order by days_slipped desc, amount_in_cents desc, id limit {int(limit)}) s "
            f"join {MARTS}.billing_milestones m on m.id = s.id "
            "order by s.days_slipped desc, s.amount_in_cents desc, s.id"
        )
    ]


def due(reader: Records, until: date) -> list[DueRow]:
    """Return the milestones of the backlog with a date up to this day, the oldest date first."""
    names = ", ".join(DueRow.__dataclass_fields__)
    return [
        DueRow(**row)
        for row in reader.records(
            f"select {names} from {MARTS}.billing_milestones "
            f"where status in ('scheduled', 'overdue') and date_to_invoice <= date '{until}' "
            "order by currency, date_to_invoice, workspace_id, id"
        )
    ]


def last_observed(reader: Rows) -> datetime | None:
    """Return when the latest version was observed, UTC; None in an empty warehouse."""
    rows = reader.rows(f"select max(valid_from) from {MARTS}.billing_milestone_history")
    return rows[0][0] if rows else None


def changes(reader: Records, since: datetime, limit: int) -> list[ChangedRow]:
    """Return the versions observed after a moment, those that change most money first.

    What the first full scan found does not count.

    Args:
        reader: The warehouse.
        since: The moment.
        limit: The most versions for each currency.
    """
    names = ", ".join(ChangedRow.__dataclass_fields__)
    return [
        ChangedRow(**row)
        for row in reader.records(
            f"""select {names} from (
                select h.id, h.title, w.title as project, {_KIND} as kind,
                    h.valid_from as observed_at, h.currency, h.amount, h.date_to_invoice,
                    h.previous_currency, h.previous_amount, h.previous_date_to_invoice,
                    row_number() over (
                        partition by h.currency
                        order by abs(case when h.change_type = 'deleted' then h.amount
                            else h.amount - coalesce(h.previous_amount, 0) end) desc nulls last,
                            h.amount_in_cents desc, h.id, h.version
                    ) as place
                from {_observed(reader, since)}
            ) versions where place <= {int(limit)} order by currency, place"""
        )
    ]


def change_totals(reader: Records, since: datetime) -> list[ChangeTotal]:
    """Return the versions observed after a moment by currency and kind, with their net amount.

    A milestone whose currency changed leaves one currency and enters the other. What the first full
    scan found does not count.
    """
    observed = _observed(reader, since)
    rows = reader.records(
        f"""select currency, kind, count(*) as versions, sum(net) as net from (
            select {_KIND} as kind, h.currency,
                case
                    when h.change_type = 'deleted' then -h.amount
                    when h.version = 1 or h.previous_change_type = 'deleted'
                        or h.currency <> h.previous_currency then h.amount
                    else h.amount - h.previous_amount
                end as net
            from {observed}
            union all
            select 'currency changed', h.previous_currency, -h.previous_amount
            from {observed} and h.currency <> h.previous_currency
                and h.change_type <> 'deleted' and h.previous_change_type <> 'deleted'
        ) versions group by currency, kind"""
    )
    totals = [ChangeTotal(**row) for row in rows]
    return sorted(totals, key=lambda total: (total.currency, CHANGE_KINDS.index(total.kind)))
