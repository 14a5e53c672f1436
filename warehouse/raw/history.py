"""Query a published DuckDB file: changes of milestones, amounts still to be invoiced."""

from __future__ import annotations

from decimal import Decimal
from typing import NamedTuple

import duckdb

from warehouse.database import DATASET, MARTS

_CHANGES = f"""
with numbered as (
    select id, version, change_type, raw::json as raw, lag(raw::json) over (
        partition by id order by version
    ) as before
    from {DATASET}.billing_milestone_versions
)
select n.id, n.raw->>'title', n.change_type, n.raw->>'currency', c.unit_per_subunit,
    (n.before->>'amount_in_cents')::bigint, (n.raw->>'amount_in_cents')::bigint,
    n.before->>'date_to_invoice', n.raw->>'date_to_invoice',
    n.before->>'invoice_id', n.raw->>'invoice_id'
from numbered n join {DATASET}.currencies c on c.iso_code = (n.raw->>'currency')
where n.version > 1 or n.id::bigint > ?
order by n.id::bigint
"""
_TO_INVOICE = f"""
with first_day as (
    select date_trunc('month', min(date_to_invoice))::date as day from {MARTS}.billing_milestones
    where status = 'scheduled'
),
named as (
    select m.amount_in_cents, c.unit_per_subunit,
        case when status <> 'scheduled' then status
            when date_to_invoice >= day + to_months(?) then 'later'
            else strftime(date_to_invoice, '%Y-%m') end as name
    from {MARTS}.billing_milestones m
    cross join first_day
    join {DATASET}.currencies c on c.iso_code = m.currency
    where m.currency = ? and status <> 'invoiced'
)
select name, sum(amount_in_cents)::bigint, unit_per_subunit
from named group by name, unit_per_subunit
order by name = 'unscheduled', name = 'later', name <> 'overdue', name
"""


class VersionChange(NamedTuple):
    """One version of a milestone, with the values of the version before.

    Amounts are in minor units; ``unit`` is the value of one. Values of a first version's
    predecessor are None.
    """

    milestone_id: str
    title: str
    change_type: str
    currency: str
    unit: Decimal
    amount_before: int | None
    amount: int
    due_before: str | None
    due: str | None
    invoice_before: str | None
    invoice: str | None


class PeriodToInvoice(NamedTuple):
    """What is not invoiced yet of a month, or overdue, later or unscheduled, in minor units."""

    name: str
    subunits: int
    unit: Decimal


def version_changes(warehouse: duckdb.DuckDBPyConnection, newest_id: int) -> list[VersionChange]:
    """Return the history: versions after the first, and all versions of milestones above an id.

    Args:
        warehouse: The published file.
        newest_id: The highest id of the milestones that are not new.
    """
    rows = warehouse.execute(_CHANGES, [newest_id]).fetchall()
    return [VersionChange(*row) for row in rows]


def periods_to_invoice(
    warehouse: duckdb.DuckDBPyConnection, currency: str, months: int
) -> list[PeriodToInvoice]:
    """Return the published amounts still to be invoiced: the next months, and all that remains."""
    rows = warehouse.execute(_TO_INVOICE, [months, currency]).fetchall()
    return [PeriodToInvoice(*row) for row in rows]
