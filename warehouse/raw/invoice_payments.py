"""When each invoice was first observed to be paid: Kantata gives no date of payment.

An invoice is paid if its status is ``accepted payment`` and nothing of it is left to pay. If it is
paid already when the connector first sees it, nobody knows since when.
"""

from __future__ import annotations

from warehouse.database import DATASET, Database

TABLE = "invoice_payments"
_TABLE = f"{DATASET}.{TABLE}"
DDL = f"""create table if not exists {_TABLE} (
    invoice_id text not null, first_observed_at timestamptz not null,
    paid_when_first_observed boolean not null, paid_observed_at timestamptz)"""
IS_PAID = "coalesce(i.status = 'accepted payment' and coalesce(i.balance_in_cents, 0) = 0, false)"


def observe_payments(database: Database) -> None:
    """Record invoices that the warehouse had not seen before, and those that are paid by now.

    It is called before and after each load, so that an invoice is known as unpaid before a load
    that shows it as paid, also after a run that was killed.

    Args:
        database: A connection; the caller must hold the lock.
    """
    invoices = f"{DATASET}.invoices"
    if "observed_at" not in database.tables().get("invoices", {}):
        return
    with database.transaction():
        database.execute(
            f"insert into {_TABLE} select i.id, i.observed_at, {IS_PAID}, null from {invoices} i "
            f"where not exists (select 1 from {_TABLE} p where p.invoice_id = i.id)"
        )
        paid = (
            f"update {_TABLE} p set paid_observed_at = i.observed_at from {invoices} i "
            "where i.id = p.invoice_id and p.paid_observed_at is null "
            f"and not p.paid_when_first_observed and {IS_PAID}"
        )
        database.execute(paid)
