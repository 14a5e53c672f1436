"""Queries of the marts for figures by client: receivables and overdue milestones."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from .database import MARTS
from .mart_queries import Records

AGES = ("not due", "no due date", "1-30 days", "31-60 days", "61-90 days", "over 90 days")
_HAS_RECEIVABLES = (
    "select 1 as found from information_schema.tables "
    f"where table_schema = '{MARTS}' and table_name = 'receivables'"
)


@dataclass(frozen=True, kw_only=True)
class ClientSum:
    """What one client has to pay, or what is overdue for invoicing to it, in one currency.

    Args:
        currency: ISO code.
        client_id: The client's id; None for several or an unknown one.
        client: Its name.
        age: The age of receivables, as in the mart; ``overdue`` of milestones.
        amount: The sum; None if an amount is unknown.
    """

    currency: str
    client_id: str | None
    client: str | None
    age: str
    amount: Decimal | None


def receivables_by_client(reader: Records) -> list[ClientSum]:
    """Return the receivables by client, currency and age; none in a warehouse of an old release."""
    if not reader.records(_HAS_RECEIVABLES):
        return []
    return _sums(
        reader,
        "select currency, client_id, min(client) as client, age, case when count(balance) = "
        f"count(*) then sum(balance) end as amount from {MARTS}.receivables group by 1, 2, 4",
    )


def overdue_by_client(reader: Records) -> list[ClientSum]:
    """Return the overdue milestones by client and currency; none if no client is known."""
    found = _sums(
        reader,
        "select currency, client_id, min(client) as client, 'overdue' as age, case when "
        f"count(amount) = count(*) then sum(amount) end as amount from {MARTS}.billing_milestones "
        "where status = 'overdue' group by 1, 2",
    )
    return found if any(row.client_id for row in found) else []


def _sums(reader: Records, sql: str) -> list[ClientSum]:
    """Return the rows of a query by client."""
    return [ClientSum(**row) for row in reader.records(sql)]
