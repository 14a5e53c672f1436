"""Copy the ledger's closed months into the warehouse, in each run."""

from __future__ import annotations

from collections.abc import Sequence

from pipelines.config.secrets import mask_secrets
from pipelines.runtime.clock import Now
from warehouse.database import Database
from warehouse.errors import WarehouseError, WarehouseMisconfigured
from warehouse.ledger.close_mirror import copied_keys, copy_closes
from warehouse.ledger.closes import CloseKey, close_keys
from warehouse.ledger.connection import read_ledger
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
    with read_ledger(target.ledger_url, now) as ledger:
        own = close_keys(ledger) if ledger else []
        if lost := [key for key in copied if not key.is_in(own)]:
            return (
                f"the ledger is missing, or lacks the closed month number {lost[0].close_number}. "
                "See how to fix it: milestones changes"
            )
        if ledger:
            copy_closes(database, ledger, own)
    return ""
