"""The job: read the account, load what changed, prove it, publish it."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from functools import partial
from pathlib import Path

import dlt
import pendulum
import pyarrow as pa
from dlt.pipeline.exceptions import PipelineStepFailed

from sources.kantata import Exchange, Report, Wanted, kantata
from sources.kantata.errors import KantataError
from sources.kantata.settings import LOADED
from warehouse import lock, models, proof, runs, tables
from warehouse.database import Database, load_failure, no_room, opened, reason
from warehouse.errors import WarehouseError, WarehouseUnproven, WarehouseUnwritable
from warehouse.known import Holdings
from warehouse.publish import publish
from warehouse.runs import Past, Run, RunStatus

from .settings import KantataSettings, Place
from .signals import Stopped, in_thread

NEEDS_A_PERSON = 3
_REJECTS_SHOWN = 10
_RAW = {
    table: {name: kind.dlt_type for name, kind in columns.items()}
    for table, (columns, _) in LOADED.items()
}

Now = Callable[[], datetime]


def utc_now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


@dataclass
class Watcher:
    """Who is told how a run goes on; by default nobody.

    Args:
        began: Told the run's id.
        phase: Told in a word or two what is being done.
        progress: Told rows read, pages read, and pages there are.
        note: Told in one line what is worth telling, as why a request is tried again.
        answered: Told of each request to Kantata, and what became of it.
    """

    began: Callable[[str], None] = lambda _: None
    phase: Callable[[str], None] = lambda _: None
    progress: Callable[[int, int, int], None] = lambda _rows, _read, _pages: None
    note: Callable[[str], None] = lambda _: None
    answered: Callable[[Exchange], None] = lambda _: None


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

    @property
    def needs(self) -> list[str]:
        """What it leaves to a person, a line each."""
        lines = list(self.run.warnings)
        for table, id_, why in self.rejected[:_REJECTS_SHOWN]:
            lines.append(f"{table} {id_} is rejected, its last good row stays: {why}")
        if (more := len(self.rejected) - _REJECTS_SHOWN) > 0:
            lines.append(f"{more} more records are rejected: see kantata.rejected_records")
        return lines


@dataclass(frozen=True)
class Asked:
    """What a person asks of one run.

    Args:
        full: A scan, whatever is due.
        allow_deletes: Any number of milestones may be marked as deleted at once.
        deleted_projects: Projects nobody can read, whose milestones are deleted.
        touched: Milestones that were just written to, to read no others.
    """

    full: bool = False
    allow_deletes: bool = False
    deleted_projects: frozenset[str] = frozenset()
    touched: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Hold:
    """A warehouse that nobody else changes meanwhile.

    Args:
        place: The warehouse.
        server: On Postgres, the connection whose lock it is; None for DuckDB.
    """

    place: Place
    server: Database | None


@contextmanager
def holding(place: Place, wait: float = 0.0) -> Iterator[Hold]:
    """Hold the lock of a warehouse, on this machine and on its server.

    Args:
        place: The warehouse.
        wait: Seconds to wait for another run.

    Raises:
        WarehouseBusy: If another run has it.
        WarehouseError: If it cannot be had.
    """
    with lock.file_lock(place.lock, wait=wait), _spoken_for(place):
        if place.loader:
            yield Hold(place, None)
            return
        with opened(place.pipeline()) as server, lock.server_lock(server, wait):
            yield Hold(place, server)


def sync(
    kantata: KantataSettings, hold: Hold, asked: Asked, watcher: Watcher, now: Now = utc_now
) -> Synced:
    """Run the job once: read, load, prove, build and check the marts, publish.

    Args:
        kantata: Where Kantata is, and the token.
        hold: The warehouse.
        asked: What a person asks of this run.
        watcher: Told how it goes on.
        now: Gives the time of this machine, which decides nothing but what its rows say.

    Raises:
        KantataError: If the account could not be read; nothing was loaded.
        WarehouseError: If the warehouse failed, or is not what was read.
        Stopped: By a signal; the next run starts over, with the same result.
    """
    place = hold.place
    with _spoken_for(place):
        pipeline = fresh_pipeline(place)
        run, past = _begun(pipeline, now)
        watcher.began(run.run_id)
        with _recorded(pipeline, run, now):
            wanted = _wanted(asked, past, kantata)
            read = partial(_read, kantata, pipeline, wanted, watcher)
            rejected, units = _load_and_prove(read, pipeline, run, past, watcher, hold.server)
            watcher.phase("building marts")
            _still_held(hold.server)
            with opened(pipeline) as database:
                run.warnings += models.refresh(database, models_day(run, place.timezone))
        if place.published:
            watcher.phase("publishing")
            publish_to_readers(place)
        return Synced(run, rejected, units, place.published)


def models_day(run: Run, timezone: str) -> models.Day:
    """What marts are built for after a run: the day Kantata's clock had at its start."""
    moment = pendulum.instance(run.cursor_at or run.started_at)
    return models.Day(run.run_id, moment.in_timezone(timezone).date(), timezone)


def publish_to_readers(place: Place) -> None:
    """Replace the file for readers; nothing on Postgres.

    Raises:
        WarehouseUnwritable: If there is no room or no right; the old file stays.
    """
    if place.loader and place.published:
        publish(place.loader, place.published)


@contextmanager
def left_by_runs(hold: Hold) -> Iterator[Database]:
    """The warehouse as runs left it.

    Raises:
        WarehouseError: If no run has left anything.
    """
    place = hold.place
    if place.loader and not place.loader.exists():
        raise WarehouseError(f"there is no {place.loader} yet: run `milestones sync`")
    with opened(place.pipeline()) as database:
        if "sync_runs" not in database.tables():
            raise WarehouseError("there are no milestones yet: run `milestones sync`")
        yield database


def fresh_pipeline(place: Place) -> dlt.Pipeline:
    """A pipeline that remembers nothing of earlier runs on this machine.

    What it must know it takes from the warehouse, so a package that a killed run left behind, a
    lost folder and another machine are all the same to it.
    """
    shutil.rmtree(place.working, ignore_errors=True)
    return place.pipeline()


def prepare(database: Database) -> None:
    """Make the raw tables that are not there yet.

    Raises:
        WarehouseMisconfigured: If a later release has written this warehouse.
    """
    tables.prepare(database, _RAW, {name: key for name, (_, key) in LOADED.items()})


def _begun(pipeline: dlt.Pipeline, now: Now) -> tuple[Run, Past]:
    """Begin the run's row; gives it, and what earlier runs did."""
    with opened(pipeline) as database:
        prepare(database)
        runs.end_killed(database)
        past = runs.past(database)
        run = Run(runs.next_id(now(), past.last_id), "undecided", "", started_at=now())
        runs.begin(database, run)
        return run, past


def _wanted(asked: Asked, past: Past, settings: KantataSettings) -> Wanted:
    return Wanted(
        full=asked.full,
        scan_every=settings.longest_without_scan(),
        cursor=past.cursor,
        scanned_at=past.scanned_at,
        unfinished=past.unfinished,
        allow_deletes=asked.allow_deletes,
        deleted_projects=asked.deleted_projects,
        touched=asked.touched,
    )


@contextmanager
def _recorded(pipeline: dlt.Pipeline, run: Run, now: Now) -> Iterator[None]:
    """End the run's row in every case."""
    began = time.monotonic()
    try:
        yield
    except BaseException as error:
        cause = _cause(error)
        run.status, run.error = _status(cause), str(cause)
        with suppress(WarehouseError):  # what failed first is what to tell
            _end(pipeline, run, began, now)
        raise
    run.status = RunStatus.PROVEN
    _end(pipeline, run, began, now)


def _end(pipeline: dlt.Pipeline, run: Run, began: float, now: Now) -> None:
    run.finished_at = now()
    run.duration_seconds = round(time.monotonic() - began, 3)
    with opened(pipeline) as database:
        runs.end(database, run)


def _status(cause: BaseException) -> RunStatus:
    if isinstance(cause, Stopped):
        return RunStatus.STOPPED
    return RunStatus.UNPROVEN if isinstance(cause, WarehouseUnproven) else RunStatus.FAILED


def _read(
    settings: KantataSettings, pipeline: dlt.Pipeline, wanted: Wanted, watcher: Watcher
) -> Report:
    """Read what changed into dlt's working folder."""
    report = Report()
    pipeline.sync_destination()
    with opened(pipeline) as database:
        source = kantata(
            **settings.arguments(),
            known=Holdings(database),
            wanted=wanted,
            report=report,
            progress=watcher.progress,
            note=watcher.note,
            answered=watcher.answered,
        )
        pipeline.extract(source, loader_file_format="parquet")
    return report


def _load_and_prove(
    read: Callable[[], Report],
    pipeline: dlt.Pipeline,
    run: Run,
    past: Past,
    watcher: Watcher,
    server: Database | None,
) -> tuple[list[tuple[str, str, str]], dict[str, Decimal]]:
    watcher.phase("reading")
    report = read()
    pa.default_memory_pool().release_unused()  # DuckDB needs it now
    _tell(run, report, past)
    with opened(pipeline) as database:
        runs.end(database, run)  # from here on it is known that something may be half loaded
    _still_held(server)
    watcher.phase("loading")
    in_thread(partial(load, pipeline))
    watcher.phase("proving")
    with opened(pipeline) as database:
        if wrong := proof.differences(database, report.totals, report.unproven, report.ids):
            raise WarehouseUnproven(
                "what was loaded is not what was read; nothing is published. " + "; ".join(wrong)
            )
        run.totals = proof.live_totals(database)
        run.warnings += _out_of_reach(Holdings(database).access_lost())
        return report.rejected, proof.units(database)


def _still_held(server: Database | None) -> None:
    """Fail unless the connection that the server's lock lives on is alive."""
    if server:
        server.rows("select 1")


def load(pipeline: dlt.Pipeline) -> None:
    """Load what was extracted.

    Raises:
        WarehouseError: If that fails.
    """
    try:
        pipeline.normalize()
        pipeline.load()
    except PipelineStepFailed as error:
        cause = _cause(error)
        if cause is not error or no_room(cause):  # a signal, or a disk
            raise
        raise load_failure(error) from error


def _tell(run: Run, report: Report, past: Past) -> None:
    run.mode, run.why = report.mode, report.why
    run.requests, run.rows_read = report.requests, report.read
    run.added, run.changed, run.rejected = report.added, report.changed, len(report.rejected)
    run.deleted, run.restored = report.deleted, report.restored
    run.access_lost = report.access_lost
    run.totals, run.side_rows = report.totals, report.side_rows
    run.schema_changes = [c for c in report.schema_changes if c not in past.schema_changes]
    run.warnings = report.warnings
    run.cursor_at = report.server_time


def _out_of_reach(lost: Mapping[str | None, int]) -> list[str]:
    """What a person should do about milestones whose project cannot be read, in words."""
    return [
        f"{count} milestones of project {project} are out of reach, their last values stay: let "
        "the token's user see it again, or, if it was deleted, say so: "
        f"milestones sync --allow-deletes {project}"
        for project, count in lost.items()
    ]


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
