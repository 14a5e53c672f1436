"""The write-back as a whole: plan, push or reconcile the ledger, then update the warehouse."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager, ExitStack, closing, nullcontext
from datetime import timedelta
from typing import NamedTuple

from pipelines.config.settings import KantataSettings, PushSettings
from pipelines.runtime.clock import Now
from pipelines.runtime.observer import RunObserver
from pipelines.sync.options import SyncOptions
from pipelines.sync.pipeline import SyncResult, sync
from pipelines.sync.session import (
    WarehouseLock,
    ensure_locked,
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
from warehouse.errors import NoLedger, WarehouseError, WarehouseUnwritable
from warehouse.ledger import mirror
from warehouse.ledger.change import Units
from warehouse.ledger.push_lock import push_lock
from warehouse.ledger.store import Ledger
from warehouse.private_files import owner_of
from warehouse.raw.account_binding import Origin, read_origin
from warehouse.raw.summary import minor_units
from warehouse.target import Target
from warehouse.user_marts import check_folder

from .dry_run import dry_run
from .ledger_access import open_ledger, read_warehouse
from .manual_settlement import Finding, settle_by_hand
from .plan import Step
from .push import push
from .push_session import PushSession
from .reconcile import reconcile
from .result import PushResult


def plan_changes(
    kantata: KantataSettings, settings: PushSettings, target: Target, now: Now
) -> list[Step]:
    """Return the plan of the write-back: what a push would do now; write nothing.

    Raises:
        KantataError: If the account cannot be read.
        WarehouseError: If the ledger cannot be read, or belongs to another account.
    """
    with (
        open_ledger(target, now) as ledger,
        closing(kantata.reader(ATTEMPTS)) as reader,
    ):
        held = _held_by_warehouse(target, None)
        return dry_run(_session(ledger, reader, settings, held), settings.max_changes)


def push_changes(
    kantata: KantataSettings,
    settings: PushSettings,
    target: Target,
    observer: RunObserver,
    now: Now,
    wait: float = 0.0,
    lock: WarehouseLock | None = None,
) -> PushResult:
    """Run the write-back: write approved changes, then sync their milestones and copy the ledger.

    Args:
        kantata: The address of Kantata, and the token.
        settings: The settings in ``[push]``.
        target: The warehouse.
        observer: Is informed of the progress.
        now: Returns this machine's time, UTC.
        wait: Seconds to wait for another push, and then for a run that locks the warehouse.
        lock: The lock of the warehouse, if the caller holds it.

    Raises:
        KantataError: If writing is not enabled.
        WarehouseError: If the ledger cannot be used or belongs to another account, or another
            push is running; or if the folder of users' marts cannot be read.
    """
    locks.ensure_supported()
    _check_enabled(settings)
    _check_loader(target)
    check_folder(target.models)  # the sync after the writes needs it
    with ExitStack() as stack:
        try:
            ledger = stack.enter_context(open_ledger(target, now, lock=lock))
        except NoLedger as why:
            observer.note(f"nothing to push: {why}")
            return PushResult()
        observer.phase("writing")
        stack.enter_context(push_lock(ledger, wait))
        held = _held_by_warehouse(target, lock)
        with (
            closing(kantata.reader(ATTEMPTS, observer.on_request)) as reader,
            closing(_writer(kantata, settings, reader, observer)) as writer,
        ):
            session = _session(ledger, reader, settings, held)
            push(session, writer, settings.max_changes, batch_creates=settings.batch_creates)
        _report_altered(session, observer)
        warehouse = nullcontext(lock) if lock else locked(target, wait, observer.note)
        sync_back(session, kantata=kantata, warehouse=warehouse, observer=observer, now=now)
    return session.result


def reconcile_changes(
    kantata: KantataSettings,
    settings: PushSettings,
    target: Target,
    observer: RunObserver,
    now: Now,
    finding: Finding | None = None,
) -> PushResult:
    """Run the write-back without sending: reconcile changes, sync back and copy the ledger.

    Args:
        kantata: The address of Kantata, and the token.
        settings: The settings in ``[push]``.
        target: The warehouse.
        observer: Is informed of the progress.
        now: Returns this machine's time, UTC.
        finding: What a person found out about one change; None to look for all.

    Raises:
        ChangeRefused: If the change cannot be settled as the person found it.
        WarehouseError: If the ledger cannot be used or belongs to another account, or another
            push is running.
    """
    locks.ensure_supported()
    _check_loader(target)
    with ExitStack() as stack:
        try:
            ledger = stack.enter_context(open_ledger(target, now))
        except NoLedger as why:
            observer.note(f"nothing to reconcile: {why}")
            return PushResult()
        stack.enter_context(push_lock(ledger))
        held = _held_by_warehouse(target, None)
        with closing(kantata.reader(ATTEMPTS, observer.on_request)) as reader:
            session = _session(ledger, reader, settings, held)
            if finding is None:
                reconcile(session)
            else:
                settle_by_hand(session, finding)
        _report_altered(session, observer)
        sync_back(session, kantata=kantata, warehouse=locked(target), observer=observer, now=now)
    return session.result


def _report_altered(session: PushSession, observer: RunObserver) -> None:
    """Report what the write-back found altered in the ledger, but does not send."""
    for line in session.altered:
        observer.note(f"the ledger was altered: {line}. See all: milestones audit --verify")


def _check_enabled(settings: PushSettings) -> None:
    """Refuse the write-back if the settings do not allow writing to Kantata."""
    if not settings.enabled:
        raise KantataMisconfigured(
            "writing to Kantata is off. To allow it, set PUSH__ENABLED=true, or enabled = true "
            "under [push] in .dlt/config.toml"
        )


def _check_loader(target: Target) -> None:
    """Refuse the write-back to a user who may not write the warehouse, such as one of its group.

    The private files that it makes would keep the job from pushing.

    Raises:
        WarehouseUnwritable: If the loader's file belongs to another user.
    """
    file = target.loader
    if file and os.path.isfile(file) and not os.access(file, os.R_OK | os.W_OK):
        raise WarehouseUnwritable(
            f"cannot write {file}, into which a push reads back what it wrote. It belongs to "
            f"{owner_of(file)}: run the command as this user"
        )


class _HeldByWarehouse(NamedTuple):
    """What the warehouse of a write-back says of its account, and of minor units."""

    origin: Origin
    units: Units


def _held_by_warehouse(target: Target, lock: WarehouseLock | None) -> _HeldByWarehouse:
    """Return what the warehouse of a write-back says of its account, and of minor units.

    Raises:
        WarehouseError: If there is no warehouse, or it cannot be read.
    """
    with read_warehouse(target, lock) as warehouse:
        return _HeldByWarehouse(read_origin(warehouse), minor_units(warehouse))


def _session(
    ledger: Ledger, reader: KantataReader, settings: PushSettings, held: _HeldByWarehouse
) -> PushSession:
    """Return a new push session for the write-back service."""
    return PushSession(
        ledger,
        reader,
        timedelta(seconds=settings.reconcile_after),
        held.origin,
        units_held=held.units,
        needs_verified=settings.require_verified_approval,
    )


def _writer(
    kantata: KantataSettings, settings: PushSettings, reader: KantataReader, observer: RunObserver
) -> KantataWriter:
    """Return a writer to Kantata for the write-back, with the write token if there is one."""
    token = settings.write_token or kantata.kantata_access_token
    return KantataWriter(kantata.kantata_api_url, token, reader.pace, observer.on_request)


def sync_back(
    session: PushSession,
    *,
    kantata: KantataSettings,
    warehouse: AbstractContextManager[WarehouseLock],
    observer: RunObserver,
    now: Now,
) -> None:
    """Sync the milestones of a write-back into the warehouse, and copy the ledger there.

    What was written cannot be undone, so an error is only added to the result.
    """
    result, ledger = session.result, session.ledger
    try:
        with warehouse as lock:
            touched = result.touched | _unread(lock, ledger)
            if touched:
                options = SyncOptions(touched=touched)
                synced = sync(kantata, lock, options, observer, now, session.account)
                result.doubts += _warnings_about(synced, touched)
            with open_existing(lock) as database:
                prepare_tables(database)
                if mirror.is_current(database, ledger):
                    return
                ensure_locked(lock)
                mirror.copy_ledger(database, ledger)
            publish_to_readers(lock.target)
    except (KantataError, WarehouseError) as error:
        if not (result.touched or result.changes or result.doubts):
            return  # the push did nothing; the next one copies the ledger
        observer.note(
            f"the warehouse does not show yet what was written; the next sync loads it: {error}"
        )
        result.stopped = result.stopped or error


def _unread(lock: WarehouseLock, ledger: Ledger) -> frozenset[str]:
    """Return the milestones that an earlier write-back wrote, and was killed before it synced."""
    with open_existing(lock) as database:
        prepare_tables(database)
        if mirror.is_current(database, ledger):
            return frozenset()
        return mirror.unread_milestones(database, ledger)


def _warnings_about(synced: SyncResult, milestone_ids: frozenset[str]) -> list[str]:
    """Return the warnings of the sync after a write-back, and its rejects of these milestones."""
    return synced.run.warnings + [
        f"{table} {id_} is rejected, its last good row stays: {why}"
        for table, id_, why in synced.rejected
        if table == MILESTONES_PATH and id_ in milestone_ids
    ]
