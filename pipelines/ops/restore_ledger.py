"""Restore the ledger from its copy in the warehouse, or keep it, because a person decided so."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from pipelines.runtime.clock import Now
from pipelines.sync.session import locked, open_existing, prepare_tables, publish_to_readers
from warehouse.database import Database
from warehouse.errors import LedgerDamaged, WarehouseMisconfigured, WarehouseUnwritable
from warehouse.ledger.closes import close_keys
from warehouse.ledger.connection import connect_ledger, ledger_exists
from warehouse.ledger.mirror import LedgerCopy, copy_end, copy_ledger, read_copy
from warehouse.ledger.push_lock import file_push_lock, push_lock
from warehouse.ledger.recovery import mark_as_unknown, recover
from warehouse.ledger.verification import check_ledger
from warehouse.lineage import record_restore
from warehouse.private_files import make_private_folder, remove_unfinished, replacement
from warehouse.raw.account_binding import read_origin
from warehouse.target import Target

from .ledger_source import LedgerSource


@dataclass(frozen=True, kw_only=True)
class LedgerRestoration:
    """What a restore of the ledger did.

    Args:
        source: What was kept or copied.
        changes: The number of changes in the ledger now.
        events: The number of events in the ledger now.
        closes: The number of closes of months in the ledger now.
        set_aside: The old ledger's file, under its new name; None if there is none.
    """

    source: str
    changes: int
    events: int
    closes: int
    set_aside: str | None


def restore_ledger(
    target: Target, source: LedgerSource, reason: str, now: Now
) -> LedgerRestoration:
    """Restore the ledger of a warehouse: use one of both copies from now on.

    Each change that may have been sent is unknown afterwards; the next push looks for it in Kantata
    before it sends anything.

    Args:
        target: The warehouse.
        source: Which copy to use.
        reason: Why, for ``restores``.
        now: The clock of this machine, UTC.

    Raises:
        WarehouseError: If it cannot be restored; nothing is changed then.
    """
    if not reason.strip():
        raise WarehouseMisconfigured("--reason is empty: say why the ledger is restored")
    if source is LedgerSource.LEDGER and not ledger_exists(target.ledger_url):
        raise WarehouseMisconfigured(
            "there is no ledger that could be used as it is. If it was lost, use its copy: "
            "milestones restore --ledger-from warehouse --reason TEXT"
        )
    aside: Path | None = None
    with locked(target) as lock, open_existing(lock) as database:
        prepare_tables(database)
        if source is LedgerSource.WAREHOUSE:
            aside = _restore_from_copy(target, database, now)
        with connect_ledger(target.ledger_url, now) as ledger, push_lock(ledger):
            check_ledger(ledger)
            if source is LedgerSource.LEDGER:
                mark_as_unknown(ledger)
            copy_ledger(database, ledger)
            restored = LedgerRestoration(
                source=source,
                changes=len(ledger.changes()),
                events=len(ledger.events()),
                closes=len(close_keys(ledger)),
                set_aside=str(aside) if aside else None,
            )
        record_restore(
            database, at=now(), source=f"ledger: {source}", reason=reason, replaced_run_id=None
        )
    publish_to_readers(target)
    return restored


def _restore_from_copy(target: Target, database: Database, now: Now) -> Path | None:
    """Restore the ledger from its copy; return where its old file was put, if it has one."""
    if copy_end(database).is_empty:
        raise LedgerDamaged(
            "the warehouse has no copy of the ledger, since nothing was ever pushed, and no month "
            "closed. Restore the ledger from a backup"
        )
    copy, account = _read_copy(database), read_origin(database).binding
    if target.ledger_url.startswith("sqlite"):
        file = Path(sa.make_url(target.ledger_url).database or "")
        try:
            with _new_file(file) as new:
                with connect_ledger(f"sqlite:///{new}", now) as ledger:
                    recover(ledger, copy, account)
                with file_push_lock(file):
                    return _replace(file, new, now)
        except OSError as error:
            raise WarehouseUnwritable(f"cannot restore {file}: {error.strerror or error}") from None
    with connect_ledger(target.ledger_url, now) as ledger, push_lock(ledger):
        recover(ledger, copy, account)
    return None


@contextmanager
def _new_file(file: Path) -> Iterator[Path]:
    """Provide the path of a new ledger to restore into; remove it if it is not used."""
    make_private_folder(file.parent)
    remove_unfinished(file)
    with replacement(file, private=True) as new:
        try:
            yield new
        finally:
            for name in _files(new)[1:]:
                name.unlink(missing_ok=True)


def _replace(file: Path, new: Path, now: Now) -> Path | None:
    """Replace the ledger's file by the restored one; keep the old one, and return its new name."""
    aside = file.with_name(f"{file.name}.{now():%Y%m%dT%H%M%SZ}.old")
    kept = None
    for name, old_name in zip(_files(file), _files(aside), strict=True):
        if name.exists():
            name.rename(old_name)
            kept = aside
    new.rename(file)
    return kept


def _files(ledger: Path) -> list[Path]:
    """Return the files of a SQLite ledger to restore; its log would be applied to another file."""
    return [ledger.with_name(f"{ledger.name}{ending}") for ending in ("", "-wal", "-shm")]


def _read_copy(database: Database) -> LedgerCopy:
    """Read the copy of the ledger to restore from.

    Raises:
        LedgerDamaged: If somebody altered it so that it is no ledger any more.
    """
    try:
        return read_copy(database)
    except (ValueError, TypeError, AttributeError) as error:
        raise LedgerDamaged(
            f"the copy of the ledger in the warehouse has an invalid value: {error}. Restore the "
            "ledger from a backup"
        ) from None
