"""Move a warehouse and its ledger from DuckDB to Postgres."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import sqlalchemy as sa

from pipelines.runtime.clock import Now
from pipelines.sync.loader import load, new_pipeline
from pipelines.sync.marts import build_context
from pipelines.sync.session import (
    WarehouseLock,
    ensure_locked,
    locked,
    open_existing,
    prepare_tables,
)
from sources.kantata import loaded_before
from warehouse.database import Database, connect
from warehouse.errors import WarehouseError, WarehouseMisconfigured, WarehouseUnproven
from warehouse.ledger.change import Event
from warehouse.ledger.closes import close_keys
from warehouse.ledger.connection import connect_ledger
from warehouse.ledger.push_lock import file_push_lock, push_lock
from warehouse.ledger.store import Ledger
from warehouse.ledger.transfer import complete_file, transfer_ledger
from warehouse.models import build
from warehouse.moved import Move, complete_move, mark_as_moved, retired_name
from warehouse.raw import export, proof, runs
from warehouse.raw.period_closes import CloseKey
from warehouse.raw.summary import run_ids
from warehouse.reader import check_exists
from warehouse.target import Target
from warehouse.words import counted


@dataclass(frozen=True, kw_only=True)
class MigrationResult:
    """What a move copied.

    Args:
        rows: The number of rows by raw table.
        changes: The number of changes in the moved ledger; None if the ledger was not moved.
        old_ledger: The file of the old ledger, renamed; None if there was none.
    """

    rows: dict[str, int]
    changes: int | None
    old_ledger: Path | None


def migrate(
    source: Target, target: Target, phase: Callable[[str], None], now: Now
) -> MigrationResult:
    """Migrate a warehouse: copy it and its ledger from DuckDB to an empty Postgres.

    The DuckDB files stay; the old ledger is renamed, so that no change is sent from both. While it
    is copied, decisions on changes wait, and are then refused. The move can be repeated, whether it
    was interrupted or not, until the job has run on Postgres: every step copies everything again,
    including what is new.

    Args:
        source: The DuckDB warehouse.
        target: The Postgres warehouse.
        phase: Called with a short name when a step begins.
        now: The clock of this machine, UTC.

    Raises:
        WarehouseError: If there is nothing to move, or the target is not empty.
    """
    check_exists(source)
    with locked(source) as source_lock, locked(target) as target_lock:
        with open_existing(source_lock) as old:
            phase("copying")
            prepare_tables(old)
            _check_target(old, target)
            _check_retired_ledger(source, target, now)
            rows = _copy(old, target_lock)
            changes, retired = _migrate_ledger(source, target, now)
            ensure_locked(target_lock)
            with connect(target.destination) as new:
                export.copy_by_sql(old, new)
        phase("building marts")
        ensure_locked(target_lock)
        _build_marts(target)
        complete_move(source)
    return MigrationResult(rows=rows, changes=changes, old_ledger=retired)


def _check_target(old: Database, target: Target) -> None:
    """Check that the Postgres to migrate to has no runs but those of an earlier move."""
    with connect(target.destination) as new:
        prepare_tables(new)
        runs_there, runs_here = run_ids(new), run_ids(old)
    if runs_there != runs_here[: len(runs_there)]:
        raise WarehouseMisconfigured(
            "this Postgres holds a warehouse already. If it was moved there, continue with: "
            "WAREHOUSE__DESTINATION=postgres. Else set DESTINATION__POSTGRES__CREDENTIALS "
            "to an empty database"
        )


def _copy(old: Database, lock: WarehouseLock) -> dict[str, int]:
    """Copy the tables of the warehouse to migrate, compare the totals; return the rows by table."""
    pipeline = new_pipeline(lock.target)
    pipeline.extract(loaded_before(export.raw_batches(old)), loader_file_format="parquet")
    load(pipeline, partial(ensure_locked, lock))
    with connect(lock.target.destination) as new:
        expected, found = export.row_counts(old), export.row_counts(new)
        is_equal = {table: found.get(table, 0) for table in expected} == expected
        if not is_equal or proof.live_totals(old) != proof.live_totals(new):
            raise WarehouseUnproven(
                f"the rows on Postgres differ from those in DuckDB: {found} instead of {expected}. "
                "Run it again"
            )
    return expected


def _build_marts(target: Target) -> None:
    """Build the marts of the last validated run migrated, unless the next sync has to."""
    with connect(target.destination) as database:
        run = runs.last_proven_run(database)
        if run and not runs.run_history(database).has_unfinished_run:
            build.build_marts(database, build_context(run, target), always=True)


def _ledger_file(source: Target, target: Target) -> Path | None:
    """Return the file of the ledger to migrate; None unless it moves from a file to a database."""
    if not source.ledger_url.startswith("sqlite") or target.ledger_url.startswith("sqlite"):
        return None
    return Path(sa.make_url(source.ledger_url).database or "")


def _check_retired_ledger(source: Target, target: Target, now: Now) -> None:
    """Check that an earlier move, to another database, left no ledger behind.

    Raises:
        WarehouseMisconfigured: If it left one.
    """
    file = _ledger_file(source, target)
    if file is None or not (retired := retired_name(file)).exists():
        return
    if _events(file, now) or _closes(file, now):
        raise WarehouseMisconfigured(
            f"there are two ledgers: {file}, and {retired} of an earlier move. Only one can be "
            "moved: decide which one is valid, and remove the other from this folder"
        )
    with connect_ledger(target.ledger_url, now) as new:
        events_there, retired_events = new.events(), _events(retired, now)
        closes_there, retired_closes = close_keys(new), _closes(retired, now)
    has_closes = all(key.is_in(closes_there) for key in retired_closes)
    if events_there[: len(retired_events)] != retired_events or not has_closes:
        closed = f" and {counted(len(retired_closes), 'closed month')}" if retired_closes else ""
        raise WarehouseMisconfigured(
            f"an earlier move, to another database, renamed the ledger {file} to {retired}, and "
            f"what it holds, {counted(len(retired_events), 'event')}{closed}, is not in this "
            f"Postgres. To move it here: mv '{retired}' '{file}'. To move without it: remove it "
            "from this folder"
        )


def _events(file: Path, now: Now) -> list[Event]:
    """Return the events of a ledger's file to migrate; none if it does not exist."""
    if not file.exists():
        return []
    with connect_ledger(f"sqlite:///{file}", now) as ledger:
        return ledger.events()


def _closes(file: Path, now: Now) -> list[CloseKey]:
    """Return the closed months of a ledger's file to migrate; none if it does not exist."""
    if not file.exists():
        return []
    with connect_ledger(f"sqlite:///{file}", now) as ledger:
        return close_keys(ledger)


def _migrate_ledger(source: Target, target: Target, now: Now) -> tuple[int | None, Path | None]:
    """Migrate the ledger from a file to a database; return its changes, and the renamed file."""
    file = _ledger_file(source, target)
    if file is None:
        _mark_as_moved(source, target, now, None)
        return None, None
    retired = retired_name(file)
    _check_retired_ledger(source, target, now)  # again: copying takes long
    with ExitStack() as stack:
        new = stack.enter_context(connect_ledger(target.ledger_url, now))
        stack.enter_context(push_lock(new))
        if retired.exists():  # and this Postgres has it
            _mark_as_moved(source, target, now, file)
            return len(new.changes()), retired
        if not file.exists():
            _mark_as_moved(source, target, now, None)
            return None, None
        stack.enter_context(file_push_lock(file))
        old = stack.enter_context(connect_ledger(source.ledger_url, now))
        stack.enter_context(old.transaction())  # a decision made meanwhile would be lost
        _copy_changes(new, old, file)
        complete_file(file)
        _mark_as_moved(source, target, now, file)  # first: a mark without a retired ledger is void
        return len(old.changes()), _retire(file, retired)


def _mark_as_moved(source: Target, target: Target, now: Now, ledger: Path | None) -> None:
    """Mark the DuckDB warehouse as migrated, so that nobody proposes or syncs there any more."""
    move = Move(
        moved_to=target.address,
        moved_at=now().isoformat(),
        is_complete=False,
        ledger=str(ledger.absolute()) if ledger else None,
        retired_ledger=str(retired_name(ledger).absolute()) if ledger else None,
    )
    mark_as_moved(source, move)


def _copy_changes(new: Ledger, old: Ledger, file: Path) -> None:
    """Migrate the events and closed months that are not on Postgres yet, unless they differ."""
    events_there, events_here = new.events(), old.events()
    is_continued = events_there[: len(events_here)] == events_here
    is_newer = bool(events_here) and is_continued and len(events_there) > len(events_here)
    if not is_newer and events_there == events_here[: len(events_there)]:
        transfer_ledger(source=old, target=new)
    if not is_newer and (new.changes(), new.events()) != (old.changes(), events_here):
        raise WarehouseError(
            f"the ledger on Postgres has events that {file} has not, so {file} was not moved: "
            "compare both with `milestones changes --all`, and decide which one is valid"
        )
    closes_there = close_keys(new)
    if lost := [key for key in close_keys(old) if not key.is_in(closes_there)]:
        raise WarehouseError(
            f"the ledger on Postgres lacks the closed month number {lost[0].close_number}, which "
            f"{file} has, so {file} was not moved: decide which one is valid"
        )


def _retire(file: Path, retired: Path) -> Path:
    """Rename the file of a migrated ledger, so that nothing more is sent from it."""
    file.rename(retired)
    for ending in ("-wal", "-shm"):  # SQLite leaves them if the file was renamed while it was open
        file.with_name(f"{file.name}{ending}").unlink(missing_ok=True)
    return retired
