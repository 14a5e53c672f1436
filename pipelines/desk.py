"""Where a command works on changes: the ledger, who works on it, what its amounts are worth."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from warehouse.errors import ChangeRefused, WarehouseError
from warehouse.ledger import Ledger, opened_ledger

from .options import Warehouse
from .query import queried
from .settings import Place, ledger_url, place


@dataclass(frozen=True)
class Desk:
    """The ledger, and what amounts in it are worth."""

    ledger: Ledger
    units: dict[str, Decimal]


@contextmanager
def desk(destination: Warehouse) -> Iterator[Desk]:
    """Open the ledger for a command.

    Raises:
        WarehouseError: If it cannot be.
    """
    where = place(destination)
    with opened_ledger(ledger_url(where), now) as ledger:
        yield Desk(ledger, units(where))


def units(where: Place) -> dict[str, Decimal]:
    """What a subunit of each currency is worth; nothing if the warehouse cannot be asked."""
    with suppress(WarehouseError), queried(where) as (_, query):
        sql = "select iso_code, unit_per_subunit from kantata.currencies"
        return {code: Decimal(unit) for code, unit in query.rows(sql) if unit is not None}
    return {}


def now() -> datetime:
    """The time of this machine, UTC."""
    return datetime.now(UTC)


def who_is(name: str | None) -> str:
    """Who works on a change: the name given, or the system's user.

    Raises:
        ChangeRefused: If the name is none.
    """
    found = getpass.getuser() if name is None else " ".join(name.split())
    if not found:
        raise ChangeRefused("--as is empty: say who it is")
    return found
