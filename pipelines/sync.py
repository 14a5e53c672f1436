"""The job: read the account, load what changed, prove it, publish it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

import dlt
import pyarrow as pa

from sources.kantata import Known, Report, kantata
from sources.kantata.errors import KantataError
from sources.kantata.settings import CURRENCIES, LOADED, SIDE_TABLES
from warehouse import lock, proof, runs, tables
from warehouse.database import Database, no_room, opened, reason
from warehouse.errors import WarehouseError, WarehouseUnproven, WarehouseUnwritable
from warehouse.known import Holdings
from warehouse.publish import publish
from warehouse.runs import Run, RunStatus

from .settings import KantataSettings, Place
from .signals import Stopped, in_thread

NEEDS_A_PERSON = 3
_RAW = {
    table: {name: kind.dlt_type for name, kind in columns.items()}
    for table, (columns, _) in LOADED.items()
}


@dataclass
class Watcher:
    """Who is told how a run goes on; by default nobody.

    Args:
        phase: Told in a word or two what is being done.
        progress: Told rows read, pages read, and pages there are.
        note: Told in one line what is worth telling, as why a request is tried again.
    """

    phase: Callable[[str], None] = lambda _: None
    progress: Callable[[int, int, int], None] = lambda _rows, _read, _pages: None
    note: Callable[[str], None] = lambda _: None


@dataclass(frozen=True)
class Synced:
    """A run that was proven.

    Args:
        run: Its row.
        rejected: Open rejects: (table, id, reason).
        units: The value of one subunit, by currency.
        published: The file for readers, None for Postgres.
    """

    run: Run
    rejected: list[tuple[str, str, str]]
    units: dict[str, Decimal] = field(default_factory=dict)
    published: Path | None = None

    @property
    def exit_code(self) -> int:
        """0, or 3 if something needs a person."""
        return NEEDS_A_PERSON if self.rejected or self.run.warnings else 0


def sync(kantata: KantataSettings, place: Place, full: bool, watcher: Watcher) -> Synced:
    """Run the job once.

    Args:
        kantata: Where Kantata is, and the token.
        place: The warehouse.
        full: Whether a scan was asked for.
        watcher: Told how it goes on.

    Raises:
        KantataError: If the account could not be read; nothing was loaded.
        WarehouseError: If the warehouse failed, is busy, or is not what was read.
        Stopped: By a signal; the next run starts over, with the same result.
    """
    with lock.file_lock(place.lock), _spoken_for(place):
        pipeline = _fresh_pipeline(place)
        with _server_lock(place, pipeline) as server:
            run = _new_run(full)
            with _recorded(pipeline, run):
                rejected, units = _load_and_prove(kantata, pipeline, run, watcher, server)
        if place.loader and place.published:
            watcher.phase("publishing")
            publish(place.loader, place.published)
        return Synced(run, rejected, units, place.published)


@contextmanager
def _server_lock(place: Place, pipeline: dlt.Pipeline) -> Iterator[Database | None]:
    """On Postgres, hold the lock for runs on other machines, on a connection of its own."""
    if place.loader:
        yield None
        return
    with opened(pipeline) as server, lock.server_lock(server):
        yield server


def _fresh_pipeline(place: Place) -> dlt.Pipeline:
    """A pipeline that remembers nothing of earlier runs on this machine.

    What it must know it takes from the warehouse, so a package that a killed run left behind, a
    lost folder and another machine are all the same to it.
    """
    shutil.rmtree(place.working, ignore_errors=True)
    return place.pipeline()


def _new_run(full: bool) -> Run:
    now = datetime.now(UTC)
    why = "asked for by --full" if full else "every run is a full scan"
    return Run(run_id=f"{now:%Y%m%dT%H%M%S.%fZ}", mode="scan", why=why, started_at=now)


@contextmanager
def _recorded(pipeline: dlt.Pipeline, run: Run) -> Iterator[None]:
    """Keep the run's row: begun as running, ended in every case."""
    began = time.monotonic()
    with opened(pipeline) as database:
        tables.prepare(database, _RAW, {name: key for name, (_, key) in LOADED.items()})
        runs.end_killed(database)
        runs.begin(database, run)
    try:
        yield
    except BaseException as error:
        cause = _cause(error)
        run.status, run.error = _status(cause), str(cause)
        with suppress(WarehouseError):  # what failed first is what to tell
            _end(pipeline, run, began)
        raise
    run.status = RunStatus.PROVEN
    _end(pipeline, run, began)


def _end(pipeline: dlt.Pipeline, run: Run, began: float) -> None:
    run.finished_at = datetime.now(UTC)
    run.duration_seconds = round(time.monotonic() - began, 3)
    with opened(pipeline) as database:
        runs.end(database, run)


def _status(cause: BaseException) -> RunStatus:
    if isinstance(cause, Stopped):
        return RunStatus.STOPPED
    return RunStatus.UNPROVEN if isinstance(cause, WarehouseUnproven) else RunStatus.FAILED


def _load_and_prove(
    kantata_settings: KantataSettings,
    pipeline: dlt.Pipeline,
    run: Run,
    watcher: Watcher,
    server: Database | None,
) -> tuple[list[tuple[str, str, str]], dict[str, Decimal]]:
    report = Report()
    watcher.phase("reading")
    pipeline.sync_destination()
    with opened(pipeline) as database:
        source = kantata(
            **kantata_settings.arguments(),
            known=_known(Holdings(database)),
            report=report,
            progress=watcher.progress,
            on_retry=watcher.note,
        )
        pipeline.extract(source, loader_file_format="parquet")
    del source
    pa.default_memory_pool().release_unused()  # DuckDB needs it now
    _tell(run, report)
    if server:
        server.rows("select 1")  # the lock lives on this connection: without it nothing is loaded
    watcher.phase("loading")
    in_thread(partial(_load, pipeline))
    watcher.phase("proving")
    with opened(pipeline) as database:
        if wrong := proof.differences(database, report.totals, report.unproven):
            raise WarehouseUnproven(
                "what was loaded is not what was read; nothing is published. " + "; ".join(wrong)
            )
        return report.rejected, proof.units(database)


def _load(pipeline: dlt.Pipeline) -> None:
    pipeline.normalize()
    pipeline.load()


def _known(holdings: Holdings) -> Known:
    """What the warehouse holds, in the source's words."""
    keys = {table.name: table.key for table in (*SIDE_TABLES, CURRENCIES)}
    return Known(
        milestones=holdings.milestones(),
        side_tables=holdings.hashes(keys),
        rejects=holdings.rejects(),
        columns=holdings.columns,
        last_values=lambda table, ids, columns: holdings.last_values(
            table, keys.get(table, "id"), ids, columns
        ),
    )


def _tell(run: Run, report: Report) -> None:
    run.requests, run.rows_read = report.requests, report.read
    run.added, run.changed, run.rejected = report.added, report.changed, len(report.rejected)
    run.totals, run.side_rows = report.totals, report.side_rows
    run.schema_changes, run.warnings = report.schema_changes, report.warnings
    run.cursor_at = report.server_time
    if report.missing:
        run.warnings.append(
            f"{len(report.missing)} milestones of the warehouse were not in the account "
            f"({', '.join(report.missing[:5])}{' …' if len(report.missing) > 5 else ''}): deleted, "
            "or their project is hidden from the token's user. Their last values stay."
        )


@contextmanager
def _spoken_for(place: Place) -> Iterator[None]:
    """Name what failed, and end dlt's wrappings: whoever catches it sees the cause itself."""
    try:
        yield
    except (KantataError, WarehouseError, Stopped):
        raise
    except BaseException as error:
        cause = _cause(error)
        if isinstance(cause, (KantataError, WarehouseError, Stopped)):
            raise cause from None
        if no_room(cause):
            raise WarehouseUnwritable(
                f"cannot write to {place.folder.absolute()}: {reason(cause)}. Make room there, or "
                "mend the folder's rights; the last published state stands."
            ) from None
        raise


def _cause(error: BaseException) -> BaseException:
    """The first error that is one of ours, or tells of a disk; else the error itself."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, (KantataError, WarehouseError, Stopped)) or no_room(seen):
            return seen
        seen = seen.__cause__ or seen.__context__
    return error
