"""``sync_runs``: one row for each run, written by SQL, begun as running and ended in every case."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from warehouse.database import DATASET, Database


class RunStatus(StrEnum):
    """How a run stands."""

    RUNNING = "running"
    PROVEN = "proven"  # loaded, and equal to what was read
    UNPROVEN = "unproven"  # loaded, and not equal: nothing was published
    FAILED = "failed"
    STOPPED = "stopped"  # by a signal, or found running by the next run: it was killed


@dataclass(kw_only=True)
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
_JSON_COLUMNS = ("totals", "side_rows", "schema_changes", "warnings")
# A run that read only what was written to proves nothing of the rest.
_WHOLE_ACCOUNT = "status = 'proven' and mode <> 'touched'"


def next_run_id(now: datetime, last_run_id: str | None) -> str:
    """An id for a run that begins now: later than the last one, also if the clock went back."""
    id_ = f"{now:%Y%m%dT%H%M%S.%fZ}"
    return id_ if last_run_id is None or id_ > last_run_id else f"{last_run_id}+"


def end_killed_runs(database: Database) -> None:
    """End the rows of runs that were killed. The lock must be held, so that none is going."""
    database.execute(
        f"update {DATASET}.sync_runs set status = %s, error = %s where status = %s",
        RunStatus.STOPPED,
        "the process was killed",
        RunStatus.RUNNING,
    )


def insert_run(database: Database, run: Run) -> None:
    """Write the run's row."""
    placeholders = ", ".join(["%s"] * len(_COLUMNS))
    database.execute(
        f"insert into {DATASET}.sync_runs ({', '.join(_COLUMNS)}) values ({placeholders})",
        *_values(run),
    )


def update_run(database: Database, run: Run) -> None:
    """Bring the run's row up to date."""
    assignments = ", ".join(f"{name} = %s" for name in _COLUMNS)
    database.execute(
        f"update {DATASET}.sync_runs set {assignments} where run_id = %s",
        *_values(run),
        run.run_id,
    )


@dataclass(frozen=True, kw_only=True)
class RunHistory:
    """What earlier runs did.

    Args:
        last_run_id: The last run's, None before the first.
        cursor: Kantata's time at the start of the last proven run.
        scanned_at: Kantata's time at the start of the last proven scan.
        has_unfinished_run: Whether a run since then ended while it was loading, or afterwards
            unproven.
        has_proven_run: Whether any run was.
        reported_schema_changes: Those that proven runs told, oldest first.
        unreported_schema_changes: Those that runs since then found, which ended before they could
            tell.
    """

    last_run_id: str | None
    cursor: datetime | None
    scanned_at: datetime | None
    has_unfinished_run: bool
    has_proven_run: bool
    reported_schema_changes: tuple[str, ...]
    unreported_schema_changes: tuple[str, ...]


def run_history(database: Database) -> RunHistory:
    """What earlier runs did."""
    last_proven = _latest_value(database, "run_id", "status = 'proven'")
    changes = database.rows(
        f"select schema_changes, run_id, status from {DATASET}.sync_runs "
        "where schema_changes <> '[]' order by run_id"
    )
    reported = [text for text, _, status in changes if status == RunStatus.PROVEN]
    unreported = [text for text, run_id, _ in changes if run_id > (last_proven or "")]
    return RunHistory(
        last_run_id=_latest_value(database, "run_id", "true"),
        cursor=_latest_value(database, "cursor_at", _WHOLE_ACCOUNT),
        scanned_at=_latest_value(database, "cursor_at", f"{_WHOLE_ACCOUNT} and mode = 'scan'"),
        has_unfinished_run=_has_unfinished_run(database),
        has_proven_run=last_proven is not None,
        reported_schema_changes=_lines(reported),
        unreported_schema_changes=_lines(unreported),
    )


def _has_unfinished_run(database: Database) -> bool:
    # A run tells its requests when it has read everything, and only then begins to load. What it
    # left half loaded stays so, however many runs that fail while reading come after it.
    return bool(
        database.rows(
            f"select 1 from {DATASET}.sync_runs where status <> 'proven' "
            "and (requests > 0 or finished_at is null) and run_id > coalesce((select max(run_id) "
            f"from {DATASET}.sync_runs where {_WHOLE_ACCOUNT}), '') limit 1"
        )
    )


def _latest_value(database: Database, column: str, condition: str) -> Any:  # noqa: ANN401
    rows = database.rows(
        f"select {column} from {DATASET}.sync_runs where {condition} order by run_id desc limit 1"
    )
    return rows[0][0] if rows else None


def _lines(texts: Sequence[str]) -> tuple[str, ...]:
    return tuple(line for text in texts for line in json.loads(text))


class Queryable(Protocol):
    """The warehouse, opened for a run or only to read."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""


def recent_runs(warehouse: Queryable) -> list[Run]:
    """The last ten runs, the newest first."""
    return _runs(warehouse, "true", 10)


def last_proven_run(warehouse: Queryable) -> Run | None:
    """The last run that was proven, also one that read only what was written to."""
    return next(iter(_runs(warehouse, "status = 'proven'", 1)), None)


def last_whole_account_run(warehouse: Queryable) -> Run | None:
    """The last proven run that read the whole account, not only what was written to."""
    return next(iter(_runs(warehouse, _WHOLE_ACCOUNT, 1)), None)


def _runs(warehouse: Queryable, condition: str, limit: int) -> list[Run]:
    rows = warehouse.rows(
        f"select {', '.join(_COLUMNS)} from {DATASET}.sync_runs where {condition} "
        f"order by run_id desc limit {limit}"
    )
    return [_run_from_row(dict(zip(_COLUMNS, row, strict=True))) for row in rows]


def _values(run: Run) -> list[object]:
    values = [(name, getattr(run, name)) for name in _COLUMNS]
    return [json.dumps(value) if name in _JSON_COLUMNS else value for name, value in values]


def _run_from_row(row: dict[str, Any]) -> Run:
    for name in _JSON_COLUMNS:
        row[name] = json.loads(row[name] or "null") or ({} if name in _JSON_COLUMNS[:2] else [])
    row["totals"] = {code: (count, total) for code, (count, total) in row["totals"].items()}
    return Run(**row | {"status": RunStatus(row["status"])})
