"""Opening the ledger of a warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.runtime.clock import Now, utc_now
from warehouse.errors import ChangeRefused
from warehouse.ledger.engine import missing_ledger_message
from warehouse.ledger.store import Ledger, connect_ledger
from warehouse.reader import check_exists
from warehouse.target import Target


@contextmanager
def open_ledger(target: Target, now: Now = utc_now) -> Iterator[Ledger]:
    """Open the existing ledger of an existing warehouse. Only a proposal creates a new one.

    Args:
        target: The warehouse.
        now: Returns this machine's time, UTC.

    Raises:
        NoWarehouse: If there is no warehouse.
        ChangeRefused: If there is no ledger yet.
        WarehouseError: If it cannot be opened.
    """
    check_exists(target)
    url = target.ledger_url
    if why := missing_ledger_message(url):
        raise ChangeRefused(why)
    with connect_ledger(url, now) as ledger:
        yield ledger
