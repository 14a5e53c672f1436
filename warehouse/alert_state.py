"""The alert state: what was reported last to those on call, so that each change is sent once.

It is kept in a file of this machine and, with Postgres, in the warehouse too: machines that share a
Postgres share no disk, and a database that is down cannot be read. The later of the two counts.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from .database import DATASET, Database
from .errors import WarehouseUnwritable
from .private_files import make_private_folder, replace_text


@dataclass(frozen=True)
class AlertState:
    """The state of a job that was reported last.

    Args:
        condition: The name of the condition; empty before the first alert.
        matters: The reasons for it, a line each; they are not reported again while they last.
        since: When the condition began, UTC.
        last_success: When a run last succeeded, or when the first run began, UTC.
        saved_at: When this state was saved by a run that could read the warehouse's copy, or when
            its alert was sent, UTC. None if a machine saved it without the warehouse: then the
            state of another machine counts more.
        untold: One-time events that the webhook did not accept yet.
    """

    condition: str = ""
    matters: tuple[str, ...] = ()
    since: datetime | None = None
    last_success: datetime | None = None
    saved_at: datetime | None = None
    untold: tuple[str, ...] = ()


_TIME_FIELDS = ("since", "last_success", "saved_at")


def read_file(path: Path) -> AlertState:
    """Return the alert state in a file; an empty one if the file is missing or damaged."""
    try:
        return _from_json(path.read_text())
    except (OSError, ValueError, TypeError, KeyError):
        return AlertState()


def write_file(path: Path, state: AlertState) -> None:
    """Save an alert state in a file, which is replaced in one step.

    Raises:
        WarehouseUnwritable: If there is no space or no permission.
    """
    try:
        make_private_folder(path.parent)
        replace_text(path, _to_json(state))
    except OSError as error:
        raise WarehouseUnwritable(f"cannot write {path}: {error.strerror}") from None


def read_from_warehouse(database: Database, job: str) -> AlertState:
    """Return the alert state of a job in the warehouse; an empty one if there is none.

    Raises:
        WarehouseError: If the warehouse cannot be read.
    """
    if "alerts" not in database.tables():
        return AlertState()
    rows = database.rows(f"select told from {DATASET}.alerts where job = %s", job)
    return _from_json(rows[0][0]) if rows else AlertState()


def write_to_warehouse(database: Database, job: str, state: AlertState) -> None:
    """Save the alert state of a job in the warehouse, if a run has created its tables.

    Raises:
        WarehouseError: If the warehouse cannot be written.
    """
    if "alerts" not in database.tables():
        return
    with database.transaction():
        database.execute(f"delete from {DATASET}.alerts where job = %s", job)
        database.execute(f"insert into {DATASET}.alerts values (%s, %s)", job, _to_json(state))


def later(one: AlertState, other: AlertState) -> AlertState:
    """Return the alert state that was saved later; the first one if neither has a time."""
    if other.saved_at and (one.saved_at is None or other.saved_at > one.saved_at):
        return other
    return one


def _to_json(state: AlertState) -> str:
    """Return an alert state as JSON text."""
    return json.dumps(asdict(state), default=lambda moment: moment.isoformat())


def _from_json(text: str) -> AlertState:
    """Return the alert state in a JSON text."""
    values = json.loads(text)
    times = {n: values[n] and datetime.fromisoformat(values[n]) for n in _TIME_FIELDS}
    lines = {n: tuple(values.get(n, ())) for n in ("matters", "untold")}
    return AlertState(**values | times | lines)
