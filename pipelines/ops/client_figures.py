"""The figures by client: what they have to pay, by age, and what is overdue for invoicing. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal

from warehouse.client_queries import ClientSum

from .money import add

_CLIENTS = 15  # of a currency, listed by name; the others are one row
_UNKNOWN = "several clients, or an unknown one"


@dataclass(frozen=True)
class ClientFigures:
    """The amounts of one client, or of several: one for each age, and their sum.

    Args:
        client: The client's name.
        ages: The amounts; None if one is unknown.
    """

    client: str
    ages: Sequence[Decimal | None]

    @property
    def amount(self) -> Decimal | None:
        """The sum of the client's amounts."""
        return add(*self.ages)


@dataclass(frozen=True)
class CurrencyClients:
    """The clients of one currency, the largest sum first.

    Args:
        currency: ISO code.
        clients: The figures of each; the last row may sum up the others.
        total: Those of all.
    """

    currency: str
    clients: Sequence[ClientFigures]
    total: ClientFigures


def figures_by_client(rows: Iterable[ClientSum], ages: Sequence[str]) -> list[CurrencyClients]:
    """Return sums by client as figures, by currency."""
    found: dict[str, dict[str | None, list[ClientSum]]] = {}
    for row in rows:
        found.setdefault(row.currency, {}).setdefault(row.client_id, []).append(row)
    return [
        _currency(currency, [_client(some, ages) for some in by_client.values()])
        for currency, by_client in sorted(found.items())
    ]


def _client(rows: Sequence[ClientSum], ages: Sequence[str]) -> ClientFigures:
    """Return the figures of one client."""
    by_age = {row.age: row.amount for row in rows}
    name = next((row.client for row in rows if row.client), None)
    return ClientFigures(
        name or rows[0].client_id or _UNKNOWN, [by_age.get(age, Decimal(0)) for age in ages]
    )


def _currency(currency: str, clients: list[ClientFigures]) -> CurrencyClients:
    """Return the figures of the clients of one currency."""
    clients.sort(key=lambda each: (-(each.amount or 0), each.client))
    total = _sum(clients, "All clients")
    if len(clients) > _CLIENTS + 1:
        others = clients[_CLIENTS:]
        clients = [*clients[:_CLIENTS], _sum(others, f"{len(others):,} other clients")]
    return CurrencyClients(currency, clients, total)


def _sum(clients: Sequence[ClientFigures], name: str) -> ClientFigures:
    """Return the sums of the figures of several clients."""
    return ClientFigures(
        name, [add(*some) for some in zip(*(c.ages for c in clients), strict=True)]
    )
