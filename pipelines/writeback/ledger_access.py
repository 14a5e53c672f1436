"""Opening the ledger of a warehouse, which is restored from its copy there if it was lost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from pipelines.runtime.clock import Now, utc_now
from pipelines.sync.session import WarehouseLock, open_existing
from warehouse.database import Database
from warehouse.errors import (
    LedgerRestored,
    NoLedger,
    WarehouseError,
    WarehouseMisconfigured,
    WarehouseUnavailable,
)
from warehouse.ledger.connection import connect_ledger
from warehouse.ledger.mirror import CopyEnd, copy_end, read_copy
from warehouse.ledger.recovery import LostLedger, describe, ensure_complete, recover
from warehouse.ledger.store import Ledger
from warehouse.ledger.url import missing_ledger_message
from warehouse.moved import check_not_moved
from warehouse.raw.account_binding import read_origin
from warehouse.reader import WarehouseReader, open_reader
from warehouse.target import Target

LOST_WITHDRAWALS = (
    "If a change was withdrawn since that copy was made, the next push would write it. So look at "
    "`milestones changes`. To withdraw such a change, set PUSH__ENABLED=false, run `milestones "
    "reconcile`, and withdraw it as soon as it is approved again"
)


@contextmanager
def open_ledger(
    target: Target,
    now: Now = utc_now,
    *,
    lock: WarehouseLock | None = None,
    reader: WarehouseReader | None = None,
    create: bool = False,
    identified_by: str | None = None,
) -> Iterator[Ledger]:
    """Open the ledger of an existing warehouse.

    Args:
        target: The warehouse.
        now: Returns this machine's time, UTC.
        lock: The lock of the warehouse, if the caller holds it.
        reader: A reader of the warehouse, if the caller has one.
        create: Whether to create a ledger if there is none, as a proposal does.
        identified_by: How the person who uses it was identified; None for a program.

    Raises:
        NoWarehouse: If there is no warehouse.
        NoLedger: If there is no ledger yet.
        LedgerRestored: If it was lost, and is restored now.
        LedgerDamaged: If its copy in the warehouse has events that it lacks.
        WarehouseMoved: If the warehouse was moved to Postgres.
        WarehouseError: If it cannot be opened.
    """

    def reading() -> AbstractContextManager[WarehouseReader | Database]:
        return nullcontext(reader) if reader else read_warehouse(target, lock)

    why = missing_ledger_message(target.ledger_url)
    copy = CopyEnd()
    try:
        with reading() as warehouse:  # before the ledger, which is never behind its copy
            copy = copy_end(warehouse)
    except (WarehouseMisconfigured, WarehouseUnavailable):
        raise
    except WarehouseError:  # a run is writing it, or its file is damaged: the ledger may be shown
        if why:
            raise
    if why and copy.is_empty and not create:
        raise NoLedger(why)
    with connect_ledger(target.ledger_url, now) as ledger:
        check_not_moved(target)  # it may have been since the command or the console started
        try:
            ensure_complete(ledger, copy)
        except LostLedger:
            with reading() as warehouse:
                raise LedgerRestored(_recover(ledger, warehouse)) from None
        ledger.identified_by = identified_by
        yield ledger


def read_warehouse(
    target: Target, lock: WarehouseLock | None
) -> AbstractContextManager[WarehouseReader | Database]:
    """Open the warehouse to read what it knows of its ledger.

    Raises:
        WarehouseError: If there is no warehouse, or it cannot be read.
    """
    return open_existing(lock) if lock else open_reader(target)


def _recover(ledger: Ledger, warehouse: WarehouseReader | Database) -> str:
    """Restore a lost ledger when it is opened; return what was restored, for people."""
    copy, account = read_copy(warehouse), read_origin(warehouse).binding
    recover(ledger, copy, account)
    return (
        f"the ledger {ledger.name} was missing or empty, so it was restored from its copy in the "
        f"warehouse: {describe(copy)}. What was proposed, decided or closed later is "
        f"lost. Nothing else was done. {LOST_WITHDRAWALS}. Then repeat the command"
    )
