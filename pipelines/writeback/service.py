"""Plan, push and reconcile as a whole: the ledger, the account, then the warehouse."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing, nullcontext
from datetime import timedelta

from pipelines.config.ledgers import no_ledger
from pipelines.config.settings import KantataSettings, PushSettings
from pipelines.config.targets import Place, ledger_url
from pipelines.sync.pipeline import Asked, Now, Synced, Watcher, sync
from pipelines.sync.session import Hold, holding, left_by_runs, prepare, publish_to_readers
from sources.kantata.api.transport import Pace
from sources.kantata.api.writer import KantataWriter
from sources.kantata.errors import KantataError, KantataMisconfigured
from sources.kantata.extract.scan import PATH
from sources.kantata.settings import ATTEMPTS
from warehouse.errors import WarehouseError
from warehouse.ledger import mirror
from warehouse.ledger.store import Ledger, opened_ledger

from .plan import Step
from .push import Push, Pushed
from .reconcile import Reconcile


def plan(kantata: KantataSettings, settings: PushSettings, place: Place, now: Now) -> list[Step]:
    """What a push would do now; nothing is written anywhere.

    Raises:
        KantataError: If the account cannot be read.
        WarehouseError: If the ledger cannot be, or belongs to another account.
    """
    with opened_ledger(ledger_url(place), now) as ledger, closing(kantata.reader(ATTEMPTS)) as door:
        return Reconcile(ledger, door, _after(settings)).plan(settings.max_changes)


def push(
    kantata: KantataSettings,
    settings: PushSettings,
    place: Place,
    watcher: Watcher,
    now: Now,
    wait: float = 0.0,
    hold: Hold | None = None,
) -> Pushed:
    """Write approved changes; then load what was written to, and copy the ledger.

    Args:
        kantata: Where Kantata is, and the token.
        settings: ``[push]``.
        place: The warehouse.
        watcher: Told how it goes on.
        now: Gives the time of this machine, UTC.
        wait: Seconds to wait for another push; and then for a run that has the warehouse.
        hold: The warehouse, if the caller has its lock.

    Raises:
        KantataError: If writing is not enabled.
        WarehouseError: If the ledger cannot be used or belongs to another account, or another
            push is going.
    """
    if not settings.enabled:
        raise KantataMisconfigured(
            "writing is off: set PUSH__ENABLED=true, or enabled = true under [push] in "
            ".dlt/config.toml, where this is meant to write to Kantata"
        )
    if why := no_ledger(ledger_url(place)):
        watcher.note(f"nothing to push: {why}")
        return Pushed()
    watcher.phase("writing")
    with opened_ledger(ledger_url(place), now) as ledger, ledger.pushing(wait):
        with (
            closing(kantata.reader(ATTEMPTS, watcher.answered)) as reader,
            closing(_writer(kantata, settings, reader.pace, watcher)) as writer,
        ):
            at_work = Push(ledger, reader, writer, _after(settings))
            result = at_work.push(settings.max_changes)
        held = nullcontext(hold) if hold else holding(place, wait, watcher.note)
        _show(kantata, held, watcher, now, ledger, result)
    return result


def reconcile(
    kantata: KantataSettings,
    settings: PushSettings,
    place: Place,
    watcher: Watcher,
    now: Now,
) -> Pushed:
    """Find out what became of changes that may have been written; send nothing.

    Raises:
        WarehouseError: If the ledger cannot be used or belongs to another account, or another
            push is going.
    """
    if why := no_ledger(ledger_url(place)):
        watcher.note(f"nothing to reconcile: {why}")
        return Pushed()
    with opened_ledger(ledger_url(place), now) as ledger, ledger.pushing():
        with closing(kantata.reader(ATTEMPTS, watcher.answered)) as reader:
            result = Reconcile(ledger, reader, _after(settings)).reconcile()
        _show(kantata, holding(place), watcher, now, ledger, result)
    return result


def _writer(
    kantata: KantataSettings, settings: PushSettings, pace: Pace, watcher: Watcher
) -> KantataWriter:
    token = settings.write_token or kantata.kantata_access_token
    return KantataWriter(kantata.kantata_api_url, token, pace, watcher.answered)


def _after(settings: PushSettings) -> timedelta:
    return timedelta(seconds=settings.reconcile_after)


def _show(
    kantata: KantataSettings,
    held: AbstractContextManager[Hold],
    watcher: Watcher,
    now: Now,
    ledger: Ledger,
    result: Pushed,
) -> None:
    """Bring the warehouse up to what was written. It cannot undo that, so it only tells."""
    changes, events = ledger.changes(), ledger.events()
    try:
        with held as hold:
            if result.touched:
                synced = sync(kantata, hold, Asked(touched=result.touched), watcher, now)
                result.doubts += _of_the_touched(synced, result.touched)
            with left_by_runs(hold) as database:
                prepare(database)
                if mirror.is_current(database, events):
                    return
                mirror.copy(database, changes, events)
            publish_to_readers(hold.place)
    except (KantataError, WarehouseError) as error:
        if not (result.touched or result.changes or result.doubts):
            return  # nothing was done; the next push copies what was proposed and decided since
        watcher.note(
            f"what was written is not in the warehouse yet; the next sync loads it: {error}"
        )
        result.stopped = result.stopped or error


def _of_the_touched(synced: Synced, touched: frozenset[str]) -> list[str]:
    """What the sync after a push leaves to a person, as far as that is about what was written."""
    return synced.run.warnings + [
        f"{table} {id_} is rejected, its last good row stays: {why}"
        for table, id_, why in synced.rejected
        if table == PATH and id_ in touched
    ]
