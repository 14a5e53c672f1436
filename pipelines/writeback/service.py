"""Plan, push and reconcile as a whole: the ledger, the account, then the warehouse."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing, nullcontext
from datetime import timedelta

from pipelines.config.settings import KantataSettings, PushSettings
from pipelines.runtime.clock import Now
from pipelines.runtime.observer import RunObserver
from pipelines.sync.options import SyncOptions
from pipelines.sync.pipeline import SyncResult, sync
from pipelines.sync.session import (
    WarehouseLock,
    locked,
    open_existing,
    prepare_tables,
    publish_to_readers,
)
from sources.kantata import KantataReader
from sources.kantata.api.writer import KantataWriter
from sources.kantata.errors import KantataError, KantataMisconfigured
from sources.kantata.settings import ATTEMPTS, MILESTONES_PATH
from warehouse import locks
from warehouse.errors import WarehouseError
from warehouse.ledger import mirror
from warehouse.ledger.engine import missing_ledger_message
from warehouse.ledger.push_lock import push_lock
from warehouse.ledger.store import Ledger, connect_ledger
from warehouse.target import Target

from .dry_run import dry_run
from .plan import Step
from .push import push
from .push_session import PushSession
from .reconcile import reconcile
from .result import PushResult


def plan_changes(
    kantata: KantataSettings, settings: PushSettings, target: Target, now: Now
) -> list[Step]:
    """What a push would do now; nothing is written anywhere.

    Raises:
        KantataError: If the account cannot be read.
        WarehouseError: If the ledger cannot be, or belongs to another account.
    """
    with (
        connect_ledger(target.ledger_url, now) as ledger,
        closing(kantata.reader(ATTEMPTS)) as reader,
    ):
        return dry_run(_session(ledger, reader, settings), settings.max_changes)


def push_changes(
    kantata: KantataSettings,
    settings: PushSettings,
    target: Target,
    observer: RunObserver,
    now: Now,
    wait: float = 0.0,
    lock: WarehouseLock | None = None,
) -> PushResult:
    """Write approved changes; then load what was written to, and copy the ledger.

    Args:
        kantata: Where Kantata is, and the token.
        settings: ``[push]``.
        target: The warehouse.
        observer: Told how it goes on.
        now: Gives the time of this machine, UTC.
        wait: Seconds to wait for another push; and then for a run that has the warehouse.
        lock: The warehouse, if the caller has its lock.

    Raises:
        KantataError: If writing is not enabled.
        WarehouseError: If the ledger cannot be used or belongs to another account, or another
            push is going.
    """
    _check_enabled(settings)
    if why := missing_ledger_message(target.ledger_url):
        observer.note(f"nothing to push: {why}")
        return PushResult()
    observer.phase("writing")
    with connect_ledger(target.ledger_url, now) as ledger, push_lock(ledger, wait):
        with (
            closing(kantata.reader(ATTEMPTS, observer.on_request)) as reader,
            closing(_writer(kantata, settings, reader, observer)) as writer,
        ):
            session = _session(ledger, reader, settings)
            result = push(session, writer, settings.max_changes)
        warehouse = nullcontext(lock) if lock else locked(target, wait, observer.note)
        sync_back(result, ledger, kantata=kantata, warehouse=warehouse, observer=observer, now=now)
    return result


def reconcile_changes(
    kantata: KantataSettings,
    settings: PushSettings,
    target: Target,
    observer: RunObserver,
    now: Now,
) -> PushResult:
    """Find out what became of changes that may have been written; send nothing.

    Raises:
        WarehouseError: If the ledger cannot be used or belongs to another account, or another
            push is going.
    """
    locks.ensure_supported()
    if why := missing_ledger_message(target.ledger_url):
        observer.note(f"nothing to reconcile: {why}")
        return PushResult()
    with connect_ledger(target.ledger_url, now) as ledger, push_lock(ledger):
        with closing(kantata.reader(ATTEMPTS, observer.on_request)) as reader:
            result = reconcile(_session(ledger, reader, settings))
        sync_back(
            result, ledger, kantata=kantata, warehouse=locked(target), observer=observer, now=now
        )
    return result


def _check_enabled(settings: PushSettings) -> None:
    if not settings.enabled:
        raise KantataMisconfigured(
            "writing is off: set PUSH__ENABLED=true, or enabled = true under [push] in "
            ".dlt/config.toml, where this is meant to write to Kantata"
        )


def _session(ledger: Ledger, reader: KantataReader, settings: PushSettings) -> PushSession:
    return PushSession(ledger, reader, timedelta(seconds=settings.reconcile_after))


def _writer(
    kantata: KantataSettings, settings: PushSettings, reader: KantataReader, observer: RunObserver
) -> KantataWriter:
    token = settings.write_token or kantata.kantata_access_token
    return KantataWriter(kantata.kantata_api_url, token, reader.pace, observer.on_request)


def sync_back(
    result: PushResult,
    ledger: Ledger,
    *,
    kantata: KantataSettings,
    warehouse: AbstractContextManager[WarehouseLock],
    observer: RunObserver,
    now: Now,
) -> None:
    """Load what was written to into the warehouse, and copy the ledger there.

    What was written cannot be undone, so a failure is only added to the result.
    """
    changes, events = ledger.changes(), ledger.events()
    try:
        with warehouse as lock:
            if result.touched:
                synced = sync(kantata, lock, SyncOptions(touched=result.touched), observer, now)
                result.doubts += _warnings_about(synced, result.touched)
            with open_existing(lock) as database:
                prepare_tables(database)
                if mirror.is_current(database, events):
                    return
                mirror.copy_ledger(database, changes, events)
            publish_to_readers(lock.target)
    except (KantataError, WarehouseError) as error:
        if not (result.touched or result.changes or result.doubts):
            return  # nothing was done; the next push copies what was proposed and decided since
        observer.note(
            f"what was written is not in the warehouse yet; the next sync loads it: {error}"
        )
        result.stopped = result.stopped or error


def _warnings_about(synced: SyncResult, milestone_ids: frozenset[str]) -> list[str]:
    """What the sync after a push leaves to a person, as far as that is about what was written."""
    return synced.run.warnings + [
        f"{table} {id_} is rejected, its last good row stays: {why}"
        for table, id_, why in synced.rejected
        if table == MILESTONES_PATH and id_ in milestone_ids
    ]
