"""`milestones move`: a warehouse and its ledger from DuckDB to Postgres, versions included."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa

from sources.kantata import loaded_before
from warehouse import contents, models, proof, runs
from warehouse.database import Database, opened
from warehouse.errors import WarehouseError, WarehouseMisconfigured, WarehouseUnproven
from warehouse.ledger import opened_ledger

from .hold import Hold, fresh_pipeline, holding, left_by_runs, load, prepare
from .place import Place, ledger_url
from .sync import Now, models_day


@dataclass(frozen=True)
class Moved:
    """What was moved.

    Args:
        rows: By raw table.
        changes: Of the ledger; None if it stays where it is.
        old_ledger: Where the old one is kept; None if there was none.
    """

    rows: dict[str, int]
    changes: int | None
    old_ledger: Path | None


def move(source: Place, target: Place, phase: Callable[[str], None], now: Now) -> Moved:
    """Copy all that a DuckDB warehouse and its ledger hold to an empty Postgres.

    The DuckDB files stay, but for the ledger, which is renamed so that nothing is sent from both.
    Cut off anywhere, it can be run again.

    Args:
        source: The DuckDB warehouse.
        target: The Postgres one.
        phase: Told what is being done.
        now: Gives the time of this machine, UTC.

    Raises:
        WarehouseError: If there is nothing to move, or the target is not empty.
    """
    with holding(source) as from_, holding(target) as to:
        with left_by_runs(from_) as old:
            phase("copying")
            _check_empty(to)
            prepare(old)
            rows = _copy(old, to)
            changes, kept = _move_ledger(source, target, now)
            with opened(target.destination) as new:
                contents.copy_by_sql(old, new)  # the last step: one that was cut off is redone
        phase("building marts")
        with opened(target.destination) as database:
            proven = runs.latest(database.rows(runs.LATEST_PROVEN))
            if proven and not runs.past(database).unfinished:  # else the next sync builds them
                models.refresh(database, models_day(proven[0], target.timezone), always=True)
    return Moved(rows, changes, kept)


def _check_empty(to: Hold) -> None:
    with opened(to.place.destination) as database:
        prepare(database)
        if database.rows("select count(*) from kantata.sync_runs")[0][0]:
            raise WarehouseMisconfigured(
                "this Postgres holds a warehouse already: name an empty database in "
                "DESTINATION__POSTGRES__CREDENTIALS"
            )


def _copy(old: Database, to: Hold) -> dict[str, int]:
    """Copy what dlt loads, and prove it."""
    pipeline = fresh_pipeline(to.place)
    pipeline.sync_destination()
    pipeline.extract(loaded_before(contents.batches(old)), loader_file_format="parquet")
    load(pipeline)
    with opened(to.place.destination) as new:
        held, moved = contents.counts(old), contents.counts(new)
        if {t: moved.get(t, 0) for t in held} != held or (
            proof.live_totals(old) != proof.live_totals(new)
        ):
            raise WarehouseUnproven(
                f"what arrived is not what there is: {moved} instead of {held}. Nothing reads it "
                "yet; run it again"
            )
    return held


def _move_ledger(source: Place, target: Place, now: Now) -> tuple[int | None, Path | None]:
    """Move the ledger too, if it is a file and its new place is a database."""
    old_url, new_url = sa.make_url(ledger_url(source)), ledger_url(target)
    file = Path(old_url.database or "")
    if old_url.get_backend_name() != "sqlite" or new_url.startswith("sqlite") or not file.exists():
        return None, None
    with ExitStack() as stack:
        old = stack.enter_context(opened_ledger(ledger_url(source), now))
        new = stack.enter_context(opened_ledger(new_url, now))
        stack.enter_context(old.pushing())
        stack.enter_context(new.pushing())
        held, found = ([c.change_id for c in ledger.changes()] for ledger in (old, new))
        if found and found != held:
            raise WarehouseError(
                f"the ledger on Postgres is not empty, so {file} stays: decide by hand which counts"
            )
        if not found:
            new.take_over(old)
    return len(held), _put_away(file)


def _put_away(file: Path) -> Path:
    """Rename a ledger, so that nothing is sent from it any more."""
    kept = file.with_name(f"{file.name}.moved")
    file.replace(kept)
    return kept
