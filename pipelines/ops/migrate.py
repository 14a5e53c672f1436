"""`milestones move`: a warehouse and its ledger from DuckDB to Postgres, versions included."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from pipelines.runtime.clock import Now
from pipelines.sync.loader import load, reset_pipeline
from pipelines.sync.pipeline import build_context
from pipelines.sync.session import WarehouseLock, locked, open_existing, prepare_tables
from sources.kantata import loaded_before
from warehouse.database import Database, connect
from warehouse.errors import WarehouseError, WarehouseMisconfigured, WarehouseUnproven
from warehouse.ledger.change import Event
from warehouse.ledger.push_lock import push_lock
from warehouse.ledger.store import Ledger, connect_ledger
from warehouse.ledger.transfer import transfer_ledger
from warehouse.models import build
from warehouse.raw import export, proof, runs
from warehouse.raw.summary import run_ids
from warehouse.target import Target


@dataclass(frozen=True, kw_only=True)
class MigrationResult:
    """What was moved.

    Args:
        rows: By raw table.
        changes: Of the ledger; None if it stays where it is.
        old_ledger: Where the old one is kept; None if there was none.
    """

    rows: dict[str, int]
    changes: int | None
    old_ledger: Path | None


def migrate(
    source: Target, target: Target, phase: Callable[[str], None], now: Now
) -> MigrationResult:
    """Copy all that a DuckDB warehouse and its ledger hold to an empty Postgres.

    The DuckDB files stay, but for the ledger, which is renamed so that nothing is sent from both.
    Cut off anywhere, or whole, it can be run again until the job has run on Postgres: every step
    writes what is there once more, and what has come since.

    Args:
        source: The DuckDB warehouse.
        target: The Postgres one.
        phase: Told what is being done.
        now: Gives the time of this machine, UTC.

    Raises:
        WarehouseError: If there is nothing to move, or the target holds something else.
    """
    with locked(source) as source_lock, locked(target) as target_lock:
        with open_existing(source_lock) as old:
            phase("copying")
            prepare_tables(old)
            _check_target(old, target)
            _check_retired_ledger(source, target, now)
            rows = _copy(old, target_lock)
            changes, retired = _migrate_ledger(source, target, now)
            with connect(target.destination) as new:
                export.copy_by_sql(old, new)
        phase("building marts")
        _build_marts(target)
    return MigrationResult(rows=rows, changes=changes, old_ledger=retired)


def _check_target(old: Database, target: Target) -> None:
    """See that nothing ran on Postgres but what was moved there: each run leaves a row."""
    with connect(target.destination) as new:
        prepare_tables(new)
        runs_there, runs_here = run_ids(new), run_ids(old)
    if runs_there != runs_here[: len(runs_there)]:
        raise WarehouseMisconfigured(
            "this Postgres holds a warehouse already. If a move made it, go on there: milestones "
            "run --destination postgres. Else name an empty database in "
            "DESTINATION__POSTGRES__CREDENTIALS"
        )


def _copy(old: Database, lock: WarehouseLock) -> dict[str, int]:
    """Copy what dlt loads, and prove it."""
    pipeline = reset_pipeline(lock.target)
    pipeline.sync_destination()
    pipeline.extract(loaded_before(export.raw_batches(old)), loader_file_format="parquet")
    load(pipeline)
    with connect(lock.target.destination) as new:
        expected, found = export.row_counts(old), export.row_counts(new)
        is_equal = {table: found.get(table, 0) for table in expected} == expected
        if not is_equal or proof.live_totals(old) != proof.live_totals(new):
            raise WarehouseUnproven(
                f"what arrived is not what there is: {found} instead of {expected}. Nothing reads "
                "it yet; run it again"
            )
    return expected


def _build_marts(target: Target) -> None:
    """Build the marts of the last proven run, unless the next sync must do it."""
    with connect(target.destination) as database:
        run = runs.last_proven_run(database)
        if run and not runs.run_history(database).has_unfinished_run:
            build.build_marts(database, build_context(run, target.timezone), always=True)


def _ledger_file(source: Target, target: Target) -> Path | None:
    """The old ledger's file; None if it is none, or if the new one is a file too."""
    old_url, new_url = sa.make_url(source.ledger_url), target.ledger_url
    if old_url.get_backend_name() != "sqlite" or new_url.startswith("sqlite"):
        return None
    return Path(old_url.database or "")


def _retired_name(file: Path) -> Path:
    return file.with_name(f"{file.name}.moved")


def _check_retired_ledger(source: Target, target: Target, now: Now) -> None:
    """See that no ledger stays behind which an earlier move, to another database, put away.

    Raises:
        WarehouseMisconfigured: If one would.
    """
    file = _ledger_file(source, target)
    if file is None or not (retired := _retired_name(file)).exists():
        return
    if _events(file, now):
        raise WarehouseMisconfigured(
            f"there are two ledgers, {file} and {retired}, which an earlier move put away. Only "
            "one can be moved: see which counts, and take the other one out of this folder"
        )
    with connect_ledger(target.ledger_url, now) as new:
        events_there, put_away = new.events(), _events(retired, now)
    if events_there[: len(put_away)] != put_away:
        raise WarehouseMisconfigured(
            f"the ledger {file} was put away as {retired} by an earlier move, to another database, "
            f"and its {len(put_away):,} events are not in this Postgres. To move it here: "
            f"mv '{retired}' '{file}'. To leave it behind: take it out of this folder"
        )


def _events(file: Path, now: Now) -> list[Event]:
    """What a ledger's file holds; nothing if there is none."""
    if not file.exists():
        return []
    with connect_ledger(f"sqlite:///{file}", now) as ledger:
        return ledger.events()


def _migrate_ledger(source: Target, target: Target, now: Now) -> tuple[int | None, Path | None]:
    """Move the ledger too, if it is a file and its new place is a database."""
    file = _ledger_file(source, target)
    if file is None:
        return None, None
    retired = _retired_name(file)
    _check_retired_ledger(source, target, now)  # again, since copying took its time
    with ExitStack() as stack:
        new = stack.enter_context(connect_ledger(target.ledger_url, now))
        stack.enter_context(push_lock(new))
        if retired.exists():  # and this Postgres holds it
            return len(new.changes()), retired
        if not file.exists():
            return None, None
        old = stack.enter_context(connect_ledger(source.ledger_url, now))
        stack.enter_context(push_lock(old))
        _copy_changes(new, old, file)
        return len(old.changes()), _retire(file, retired)


def _copy_changes(new: Ledger, old: Ledger, file: Path) -> None:
    """Write what is not on Postgres yet, unless something else happened there."""
    events_there, events_here = new.events(), old.events()
    is_continued = events_there[: len(events_here)] == events_here
    if events_here and is_continued and len(events_there) > len(events_here):
        return  # it went on there, and not here
    if events_there == events_here[: len(events_there)]:
        transfer_ledger(source=old, target=new)
    if (new.changes(), new.events()) != (old.changes(), events_here):
        raise WarehouseError(
            f"the ledger on Postgres holds what {file} does not, so {file} stays: see what "
            "happened in either by `milestones changes --all`, and decide by hand which counts"
        )


def _retire(file: Path, retired: Path) -> Path:
    """Rename a ledger, so that nothing is sent from it any more."""
    file.rename(retired)
    return retired
