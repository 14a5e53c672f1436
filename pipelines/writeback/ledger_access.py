"""Opening the ledger of a warehouse."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from pipelines.runtime.clock import Now, utc_now
from warehouse.errors import ChangeRefused
from warehouse.ledger.engine import missing_ledger_message
from warehouse.ledger.store import Ledger, connect_ledger
from warehouse.target import Target


@contextmanager
def open_ledger(target: Target, now: Now = utc_now) -> Iterator[Ledger]:
    """Open the ledger to look into it, or to decide: only who proposes makes a new one.

    Args:
        target: The warehouse it belongs to.
        now: Gives the time of this machine, UTC.

    Raises:
        ChangeRefused: If there is none yet.
        WarehouseError: If it cannot be opened.
    """
    url = target.ledger_url
    if why := missing_ledger_message(url):
        raise ChangeRefused(why)
    with connect_ledger(url, now) as ledger:
        yield ledger
