"""``sync_runs``: one row for each run, written by SQL, begun as running and ended in every case."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any

from warehouse.database import DATASET, Database


class RunStatus(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    PROVEN = "proven"  # loaded, and equal to what was read
    UNPROVEN = "unproven"  # loaded, and not equal: nothing was published
    FAILED = "failed"
    STOPPED = "stopped"  # by a signal, or found running by the next run: it was killed


@dataclass
class Run:
    """One run, as its row tells it.

    Args:
        run_id: Unique, and rising with time.
        mode: ``scan``, ``feed``, or ``touched`` after a push; ``undecided`` until it is known.
        why: Why this mode.
        started_at: UTC, by our clock.
        status: How it stands.
        finished_at: UTC, by our clock.
        duration_seconds: From start to finish.
        requests: Sent to Kantata.
        rows_read: Milestones read.
        added, changed, deleted, restored, access_lost, rejected: Milestones, each.
        totals: Live milestones and subunits by currency: of the warehouse once it is proven, before
            that of what was read.
        side_rows: New and changed rows of the other tables, by table.
        schema_changes: Columns that came, fields that went, in words.
        warnings: What a person should look at, in words.
        error: Why it failed.
        cursor_at: Kantata's time before the first request; counts if the run is proven.
    """

    run_id: str
    mode: str
    why: str
    started_at: datetime
    status: RunStatus = RunStatus.RUNNING
    finished_at: datetime | None = None
    duration_seconds: float = 0.0
    requests: int = 0
    rows_read: int = 0
    added: int = 0
    changed: int = 0
    deleted: int = 0
    restored: int = 0
    access_lost: int = 0
    rejected: int = 0
    totals: dict[str, tuple[int, int]] = field(default_factory=dict)
    side_rows: dict[str, int] = field(default_factory=dict)
    schema_changes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    error: str | None = None
    cursor_at: datetime | None = None


_COLUMNS = tuple(f.name for f in fields(Run))
_AS_JSON = ("totals", "side_rows", "schema_changes", "warnings")


def next_id(now: datetime, last: str | None) -> str:
    """An id for a run that begins now: later than the last one, also if the clock went back."""
    first = f"{now:%Y%m%dT%H%M%S.%fZ}"
    return first if last is None or first > last else f"{last}+"


def end_killed(database: Database) -> None:
    """End the rows of runs that were killed. The lock must be held, so that none is going."""
    database.run(
        f"update {DATASET}.sync_runs set status = %s, error = %s where status = %s",
        RunStatus.STOPPED,
        "the process was killed",
        RunStatus.RUNNING,
    )


def begin(database: Database, run: Run) -> None:
    """Write the run's row."""
    marks = ", ".join(["%s"] * len(_COLUMNS))
    database.run(
        f"insert into {DATASET}.sync_runs ({', '.join(_COLUMNS)}) values ({marks})",
        *_values(run, _COLUMNS),
    )


def end(database: Database, run: Run) -> None:
    """Bring the run's row up to date."""
    changes = ", ".join(f"{name} = %s" for name in _COLUMNS)
    database.run(
        f"update {DATASET}.sync_runs set {changes} where run_id = %s",
        *_values(run, _COLUMNS),
        run.run_id,
    )


@dataclass(frozen=True)
class RunHistory:
    """What earlier runs did.

    Args:
        last_id: The last run's, None before the first.
        cursor: Kantata's time at the start of the last proven run.
        scanned_at: Kantata's time at the start of the last proven scan.
        unfinished: Whether a run since then ended while it was loading, or afterwards unproven.
        proven: Whether any run was.
        told: Schema changes that proven runs told, oldest first.
        untold: Those that runs since then found, which ended before they could tell.
    """

    last_id: str | None
    cursor: datetime | None
    scanned_at: datetime | None
    unfinished: bool
    proven: bool
    told: tuple[str, ...]
    untold: tuple[str, ...]


def run_history(database: Database) -> RunHistory:
    """What earlier runs did."""

    def first(sql: str) -> tuple[Any, ...]:
        rows = database.rows(f"{sql} order by run_id desc limit 1")
        return rows[0] if rows else (None,) * 4

    # A run that read only what was written to knows nothing of other changes.
    proven = (
        f"select cursor_at from {DATASET}.sync_runs where status = 'proven' and mode <> 'touched'"
    )
    # A run tells its requests when it has read everything, and only then begins to load. What it
    # left half loaded stays so, however many runs that fail while reading come after it.
    unfinished = database.rows(
        f"select 1 from {DATASET}.sync_runs where status <> 'proven' "
        "and (requests > 0 or finished_at is null) and run_id > coalesce((select max(run_id) "
        f"from {DATASET}.sync_runs where status = 'proven' and mode <> 'touched'), '') limit 1"
    )
    found = database.rows(
        f"select schema_changes, run_id, status from {DATASET}.sync_runs "
        "where schema_changes <> '[]' order by run_id"
    )
    last_proven = first(f"select run_id from {DATASET}.sync_runs where status = 'proven'")[0]
    told = [changes for changes, _, status in found if status == RunStatus.PROVEN]
    untold = [changes for changes, run_id, _ in found if run_id > (last_proven or "")]
    return RunHistory(
        last_id=first(f"select run_id from {DATASET}.sync_runs")[0],
        cursor=first(proven)[0],
        scanned_at=first(f"{proven} and mode = 'scan'")[0],
        unfinished=bool(unfinished),
        proven=last_proven is not None,
        told=_all(told),
        untold=_all(untold),
    )


def _all(lists: Sequence[str]) -> tuple[str, ...]:
    return tuple(change for text in lists for change in json.loads(text))


def latest(rows: Sequence[tuple[Any, ...]]) -> list[Run]:
    """The runs of the rows that ``LATEST`` or ``LATEST_PROVEN`` selects."""
    return [_run(dict(zip(_COLUMNS, row, strict=True))) for row in rows]


_SELECT = f"select {', '.join(_COLUMNS)} from {DATASET}.sync_runs"
LATEST = f"{_SELECT} order by run_id desc limit 10"
LATEST_PROVEN = f"{_SELECT} where status = 'proven' order by run_id desc limit 1"
# A run that read only what was written to proves nothing of the rest.
LATEST_VALIDATED = (
    f"{_SELECT} where status = 'proven' and mode <> 'touched' order by run_id desc limit 1"
)


def _values(run: Run, names: Sequence[str]) -> list[object]:
    return [
        json.dumps(getattr(run, name)) if name in _AS_JSON else getattr(run, name) for name in names
    ]


def _run(row: dict[str, Any]) -> Run:
    for name in _AS_JSON:
        row[name] = json.loads(row[name] or "null") or ({} if name in _AS_JSON[:2] else [])
    row["totals"] = {code: (count, total) for code, (count, total) in row["totals"].items()}
    return Run(**row | {"status": RunStatus(row["status"])})
