"""The job: read the account, load what changed, prove it, publish it."""

from __future__ import annotations

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

from pipelines.config.settings import KantataSettings
from pipelines.runtime.signals import Stopped, in_thread
from sources.kantata import Exchange, Report, Wanted, kantata
from warehouse.database import opened
from warehouse.errors import WarehouseError, WarehouseUnproven
from warehouse.models import build
from warehouse.raw import proof, runs, schema
from warehouse.raw.runs import Past, Run, RunStatus
from warehouse.raw.state import Holdings

from .session import (
    Hold,
    cause_of,
    fresh_pipeline,
    load,
    prepare,
    publish_to_readers,
    spoken_for,
    still_held,
)

NEEDS_A_PERSON = 3
_REJECTS_SHOWN = 10
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
    with spoken_for(place):
        pipeline = fresh_pipeline(place)
        run, past = _begun(pipeline, now)
        watcher.began(run.run_id)
        with _recorded(pipeline, run, now):
            wanted = _wanted(asked, past, kantata)
            read = partial(_read, kantata, pipeline, wanted, watcher)
            rejected, units = _load_and_prove(read, pipeline, run, past, watcher, hold)
            watcher.phase("building marts")
            still_held(hold)
            with opened(pipeline.destination) as database:
                run.warnings += build.refresh(database, models_day(run, place.timezone))
        if place.published:
            watcher.phase("publishing")
            publish_to_readers(place)
        return Synced(run, rejected, units, place.published)


def models_day(run: Run, timezone: str) -> build.Day:
    """What marts are built for after a run: the day Kantata's clock had at its start."""
    moment = pendulum.instance(run.cursor_at or run.started_at)
    return build.Day(run.run_id, moment.in_timezone(timezone).date(), timezone)


def _begun(pipeline: dlt.Pipeline, now: Now) -> tuple[Run, Past]:
    """Begin the run's row; gives it, and what earlier runs did."""
    with opened(pipeline.destination) as database:
        prepare(database)
        runs.end_killed(database)
        past = runs.past(database)
        if past.unfinished:
            schema.remove_orphans(database)
        run = Run(runs.next_id(now(), past.last_id), "undecided", "", started_at=now())
        runs.begin(database, run)
        return run, past


def _wanted(asked: Asked, past: Past, settings: KantataSettings) -> Wanted:
    return Wanted(
        full=asked.full,
        scan_every=settings.longest_without_scan(),
        cursor=past.cursor,
        scanned_at=past.scanned_at,
        proven=past.proven,
        told=(*past.told, *past.untold),  # this run tells the latter, and what became of them
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
        cause = cause_of(error)
        run.status, run.error = _status(cause), str(cause)
        with suppress(WarehouseError):  # what failed first is what to tell
            _end(pipeline, run, began, now)
        raise
    run.status = RunStatus.PROVEN
    _end(pipeline, run, began, now)


def _end(pipeline: dlt.Pipeline, run: Run, began: float, now: Now) -> None:
    run.finished_at = now()
    run.duration_seconds = round(time.monotonic() - began, 3)
    with opened(pipeline.destination) as database:
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
    with opened(pipeline.destination) as database:
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
    hold: Hold,
) -> tuple[list[tuple[str, str, str]], dict[str, Decimal]]:
    watcher.phase("reading")
    report = read()
    pa.default_memory_pool().release_unused()  # DuckDB needs it now
    _tell(run, report, past)
    with opened(pipeline.destination) as database:
        runs.end(database, run)  # from here on it is known that something may be half loaded
    still_held(hold)
    watcher.phase("loading")
    in_thread(partial(load, pipeline))
    watcher.phase("proving")
    with opened(pipeline.destination) as database:
        if wrong := proof.differences(database, report.totals, report.unproven, report.ids):
            raise WarehouseUnproven(
                "what was loaded is not what was read; nothing is published. " + "; ".join(wrong)
            )
        run.totals = proof.live_totals(database)
        run.warnings += _out_of_reach(Holdings(database).access_lost())
        return report.rejected, proof.units(database)


def _tell(run: Run, report: Report, past: Past) -> None:
    run.mode, run.why = report.mode, report.why
    run.requests, run.rows_read = report.requests, report.read
    run.added, run.changed, run.rejected = report.added, report.changed, len(report.rejected)
    run.deleted, run.restored = report.deleted, report.restored
    run.access_lost = report.access_lost
    run.totals, run.side_rows = report.totals, report.side_rows
    run.schema_changes = list(dict.fromkeys((*past.untold, *report.schema_changes)))
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
