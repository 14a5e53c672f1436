"""The rows of ``sync_runs``: one for each run, inserted as running, updated however it ends."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from enum import StrEnum
from typing import Any, Protocol

from warehouse.database import DATASET, Database


class RunStatus(StrEnum):
    """The status of a run; ``proven`` means validated."""

    RUNNING = "running"
    PROVEN = "proven"  # loaded, and its totals equal those read
    UNPROVEN = "unproven"  # loaded, and its totals differ: nothing was published
    FAILED = "failed"
    STOPPED = "stopped"  # by a signal; or killed, as the next run found


@dataclass(kw_only=True)
class Run:
    """A run, as in its row of ``sync_runs``.

    Args:
        run_id: Unique; later runs have greater ids.
        mode: ``scan``, ``feed``, or ``touched`` after a push; ``undecided`` until it is known.
        why: The reason for this mode.
        started_at: When it started, UTC, by this machine's clock.
        status: Its status.
        finished_at: When it ended, UTC, by this machine's clock.
        duration_seconds: Seconds from start to end.
        requests: Requests sent to Kantata.
        rows_read: Milestones read.
        added, changed, deleted, restored, access_lost, rejected: Numbers of milestones.
        totals: The number of live milestones and their sum in minor units, by currency: those in
            the warehouse if the run was validated, else those that were read.
        side_rows: New and changed rows of the other tables, by table.
        schema_changes: New columns and missing fields, a line each.
        warnings: What a person should look at, a line each.
        error: Why it failed.
        cursor_at: Kantata's time before the first request; it counts if the run was validated.
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
# A run after a push reads only the milestones that were written, so it validates no others.
_WHOLE_ACCOUNT = "status = 'proven' and mode <> 'touched'"

_RUN_ID = re.compile(r"[0-9TZ.]+\+*")


def next_run_id(now: datetime, last_run_id: str | None) -> str:
    """Return an id for a new run, greater than the last one even if the clock went back."""
    id_ = f"{now:%Y%m%dT%H%M%S.%fZ}"
    return id_ if last_run_id is None or id_ > last_run_id else f"{last_run_id}+"


def end_killed_runs(database: Database) -> None:
    """Mark runs that were killed as stopped; the caller must hold the lock, so none is running."""
    database.execute(
        f"update {DATASET}.sync_runs set status = %s, error = %s where status = %s",
        RunStatus.STOPPED,
        "the process was killed",
        RunStatus.RUNNING,
    )


def insert_run(database: Database, run: Run) -> None:
    """Insert the row of a run into ``sync_runs``."""
    placeholders = ", ".join(["%s"] * len(_COLUMNS))
    database.execute(
        f"insert into {DATASET}.sync_runs ({', '.join(_COLUMNS)}) values ({placeholders})",
        *_values(run),
    )


def update_run(database: Database, run: Run, observed_until: datetime | None = None) -> None:
    """Update the row of a run in ``sync_runs``.

    Args:
        database: A connection.
        run: The run.
        observed_until: When its observations ended, by their own clock; None to keep it. The other
            times of a run are by this machine's or by Kantata's clock, so they cannot be compared
            with those of versions. It is no column of ``Run``, since a warehouse may be read before
            it has it.
    """
    assignments = ", ".join(f"{name} = %s" for name in _COLUMNS)
    database.execute(
        f"update {DATASET}.sync_runs set {assignments}, "
        "observed_until = coalesce(%s, observed_until) where run_id = %s",
        *_values(run),
        observed_until,
        run.run_id,
    )


def mark_project_details(database: Database, run: Run) -> None:
    """Mark in ``sync_runs`` that a run read the clients and leads of all projects."""
    _mark_read(database, run, "project_details_read_at")


def mark_exchange_rates(database: Database, run: Run) -> None:
    """Mark in ``sync_runs`` that a run read the exchange rates of the account."""
    _mark_read(database, run, "exchange_rates_read_at")


def _mark_read(database: Database, run: Run, column: str) -> None:
    """Set a time in a run's row of ``sync_runs`` to Kantata's time at the start of the run."""
    database.execute(
        f"update {DATASET}.sync_runs set {column} = %s where run_id = %s", run.cursor_at, run.run_id
    )


def remove_run(database: Database, run: Run) -> None:
    """Remove the row of a run from ``sync_runs``."""
    database.execute(f"delete from {DATASET}.sync_runs where run_id = %s", run.run_id)


@dataclass(frozen=True, kw_only=True)
class RunHistory:
    """What the next run must know of earlier runs.

    Args:
        last_run_id: The id of the last run; None before the first.
        cursor: Kantata's time at the start of the last validated run.
        scanned_at: Kantata's time at the start of the last validated full scan.
        project_details_read_at: Kantata's time at the start of the last validated run that read the
            clients and leads of all projects.
        exchange_rates_read_at: The same for the exchange rates of the account.
        has_unfinished_run: Whether a run since the last validated one ended while or after it
            loaded rows.
        has_proven_run: Whether any run was validated.
        is_last_run_proven: Whether the last run was.
        reported_schema_changes: The schema changes of validated runs, oldest first.
        unreported_schema_changes: The schema changes of later runs, which failed before they could
            report them.
    """

    last_run_id: str | None
    cursor: datetime | None
    scanned_at: datetime | None
    project_details_read_at: datetime | None
    exchange_rates_read_at: datetime | None
    has_unfinished_run: bool
    has_proven_run: bool
    is_last_run_proven: bool
    reported_schema_changes: tuple[str, ...]
    unreported_schema_changes: tuple[str, ...]


def run_history(database: Database) -> RunHistory:
    """Return from ``sync_runs`` what the next run must know of earlier runs."""
    last_proven = _latest_value(database, "run_id", "status = 'proven'")
    last_run_id = _latest_value(database, "run_id", "true")
    changes = database.rows(
        f"select schema_changes, run_id, status from {DATASET}.sync_runs "
        "where schema_changes <> '[]' order by run_id"
    )
    reported = [text for text, _, status in changes if status == RunStatus.PROVEN]
    unreported = [text for text, run_id, _ in changes if run_id > (last_proven or "")]
    return RunHistory(
        last_run_id=last_run_id,
        cursor=_latest_value(database, "cursor_at", _WHOLE_ACCOUNT),
        scanned_at=_latest_value(database, "cursor_at", f"{_WHOLE_ACCOUNT} and mode = 'scan'"),
        project_details_read_at=_latest_time(database, "project_details_read_at"),
        exchange_rates_read_at=_latest_time(database, "exchange_rates_read_at"),
        has_unfinished_run=_has_unfinished_run(database),
        has_proven_run=last_proven is not None,
        is_last_run_proven=last_run_id is None or last_run_id == last_proven,
        reported_schema_changes=_lines(reported),
        unreported_schema_changes=_lines(unreported),
    )


def _has_unfinished_run(database: Database) -> bool:
    """Return whether a run may have loaded rows since the last validated whole-account run."""
    # A run records its requests when it has read everything, just before it loads. What it loaded
    # incompletely remains so, even if later runs fail while reading.
    return bool(
        database.rows(
            f"select 1 from {DATASET}.sync_runs where status <> 'proven' "
            "and (requests > 0 or finished_at is null) and run_id > coalesce((select max(run_id) "
            f"from {DATASET}.sync_runs where {_WHOLE_ACCOUNT}), '') limit 1"
        )
    )


def _latest_time(database: Database, column: str) -> datetime | None:
    """Return a time of the latest validated run in ``sync_runs`` that has it, or None."""
    found: datetime | None = _latest_value(
        database, column, f"status = 'proven' and {column} is not null"
    )
    return found


def _latest_value(database: Database, column: str, condition: str) -> Any:  # noqa: ANN401
    """Return a column of the latest run in ``sync_runs`` that meets a condition, or None."""
    rows = database.rows(
        f"select {column} from {DATASET}.sync_runs where {condition} order by run_id desc limit 1"
    )
    return rows[0][0] if rows else None


def _lines(texts: Sequence[str]) -> tuple[str, ...]:
    """Return the lines in JSON texts of ``sync_runs``, in order."""
    return tuple(line for text in texts for line in json.loads(text))


class Queryable(Protocol):
    """A connection to the warehouse, or a reader of it."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query on the runs."""


def is_known(warehouse: Queryable, run_id: str) -> bool:
    """Return whether ``sync_runs`` has a run, by its id as somebody else wrote it."""
    if not _RUN_ID.fullmatch(run_id):
        return False
    return bool(warehouse.rows(f"select 1 from {DATASET}.sync_runs where run_id = '{run_id}'"))


def recent_runs(warehouse: Queryable, limit: int = 10) -> list[Run]:
    """Return the last runs, the newest first.

    Args:
        warehouse: The warehouse.
        limit: The most runs.
    """
    return _runs(warehouse, "true", limit)


def last_proven_run(warehouse: Queryable) -> Run | None:
    """Return the last validated run, even if it read only the milestones that a push wrote."""
    return next(iter(_runs(warehouse, "status = 'proven'", 1)), None)


def last_whole_account_run(warehouse: Queryable) -> Run | None:
    """Return the last validated run that covered the whole account."""
    return next(iter(_runs(warehouse, _WHOLE_ACCOUNT, 1)), None)


def _runs(warehouse: Queryable, condition: str, limit: int) -> list[Run]:
    """Return the runs in ``sync_runs`` that meet a condition, the newest first, up to a limit."""
    rows = warehouse.rows(
        f"select {', '.join(_COLUMNS)} from {DATASET}.sync_runs where {condition} "
        f"order by run_id desc limit {limit}"
    )
    return [_run_from_row(dict(zip(_COLUMNS, row, strict=True))) for row in rows]


def _values(run: Run) -> list[object]:
    """Return the values of a run for its row in ``sync_runs``."""
    values = [(name, getattr(run, name)) for name in _COLUMNS]
    return [json.dumps(value) if name in _JSON_COLUMNS else value for name, value in values]


def _run_from_row(row: dict[str, Any]) -> Run:
    """Return the run in a row of ``sync_runs``."""
    for name in _JSON_COLUMNS:
        row[name] = json.loads(row[name] or "null") or ({} if name in _JSON_COLUMNS[:2] else [])
    row["totals"] = {code: (count, total) for code, (count, total) in row["totals"].items()}
    return Run(**row | {"status": RunStatus(row["status"])})
