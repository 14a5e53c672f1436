"""Copy the ledger's closed months into the warehouse, in each run."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.config.secrets import mask_secrets
from pipelines.runtime.clock import Now
from warehouse.database import Database
from warehouse.errors import WarehouseError, WarehouseMisconfigured
from warehouse.ledger.url import missing_ledger_message
from warehouse.raw.period_closes import CloseKey, copied_keys
from warehouse.target import Target

from .begin import SyncJob


def mirror_closes(job: SyncJob, now: Now) -> None:
    """Copy the closed months of the ledger into the warehouse of a sync, if it has new ones.

    What cannot be copied becomes a warning of the run, if the warehouse has closed months; else the
    ledger may never be needed here, and its failure is only noted.

    Args:
        job: The sync.
        now: The clock of this machine, UTC.
    """
    with job.connect() as database:
        copied = copied_keys(database)
        try:
            why = _copy(database, job.lock.target, copied, now)
        except WarehouseMisconfigured as error:  # as long as nobody closes months, it may be so
            why = mask_secrets(str(error)) if copied else ""
        except WarehouseError as error:
            why = mask_secrets(str(error))
    if not why:
        return
    line = f"the closed months were not copied into the warehouse, which keeps its copy: {why}"
    if copied:
        job.run.warnings.append(line)
    else:
        job.observer.note(line)


def _copy(database: Database, target: Target, copied: Sequence[CloseKey], now: Now) -> str:
    """Copy the closed months of the target's ledger; return why not, or an empty text."""
    if missing_ledger_message(target.ledger_url):
        return _lost(copied, [])
    from warehouse.ledger.close_mirror import copy_closes  # here: SQLAlchemy takes a while
    from warehouse.ledger.closes import close_keys
    from warehouse.ledger.connection import read_ledger

    with read_ledger(target.ledger_url, now) as ledger:
        own = close_keys(ledger) if ledger else []
        lost = _lost(copied, own)
        if ledger and not lost:
            copy_closes(database, ledger, own)
    return lost


def _lost(copied: Sequence[CloseKey], own: Sequence[CloseKey]) -> str:
    """Return that the ledger lacks a closed month of the warehouse; an empty text if it has all."""
    lost = [key.close_number for key in copied if not key.is_in(own)]
    if not lost:
        return ""
    return (
        f"the ledger is missing, or lacks the closed month number {lost[0]}. "
        "See how to fix it: milestones changes"
    )
