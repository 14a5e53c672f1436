"""What those on call were told last, so that they hear of each change of state once.

Kept in a file of this machine and, with Postgres, in the warehouse too: workers there share no
disk, and a database that is down cannot be asked. The later of the two counts.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path

from .database import DATASET, Database
from .errors import WarehouseUnwritable


@dataclass(frozen=True)
class AlertState:
    """The state that was told last.

    Args:
        condition: In a word or two; empty before the first.
        matters: What made it so; what is among them is not told again.
        since: When it began, UTC.
        last_success: When a run last ended well, or the first run of all began, UTC.
        saved_at: When this was noted, knowing what the warehouse said, or when it was told, UTC;
            None for what a machine noted on its own, which counts less than what others told.
        untold: What happened once, and the webhook did not take.
    """

    condition: str = ""
    matters: tuple[str, ...] = ()
    since: datetime | None = None
    last_success: datetime | None = None
    saved_at: datetime | None = None
    untold: tuple[str, ...] = ()


_TIME_FIELDS = ("since", "last_success", "saved_at")


def read_file(path: Path) -> AlertState:
    """What the file says; nothing if there is none, or it is not whole."""
    try:
        return _from_json(path.read_text())
    except (OSError, ValueError, TypeError, KeyError):
        return AlertState()


def write_file(path: Path, state: AlertState) -> None:
    """Note it, whole or not at all.

    Raises:
        WarehouseUnwritable: If there is no room or no right.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(_to_json(state))
        new.replace(path)
    except OSError as error:
        raise WarehouseUnwritable(f"cannot write {path}: {error.strerror}") from None


def read_from_warehouse(database: Database, job: str) -> AlertState:
    """What the warehouse says of a job; nothing if it says nothing.

    Raises:
        WarehouseError: If it cannot be asked.
    """
    if "alerts" not in database.tables():
        return AlertState()
    rows = database.rows(f"select told from {DATASET}.alerts where job = %s", job)
    return _from_json(rows[0][0]) if rows else AlertState()


def write_to_warehouse(database: Database, job: str, state: AlertState) -> None:
    """Note it in the warehouse, if a run has made its tables.

    Raises:
        WarehouseError: If it cannot be written.
    """
    if "alerts" not in database.tables():
        return
    with database.transaction():
        database.execute(f"delete from {DATASET}.alerts where job = %s", job)
        database.execute(f"insert into {DATASET}.alerts values (%s, %s)", job, _to_json(state))


def later(one: AlertState, other: AlertState) -> AlertState:
    """The one that was noted later; the first if neither knows when."""
    if other.saved_at and (one.saved_at is None or other.saved_at > one.saved_at):
        return other
    return one


def _to_json(state: AlertState) -> str:
    return json.dumps(asdict(state), default=lambda moment: moment.isoformat())


def _from_json(text: str) -> AlertState:
    values = json.loads(text)
    times = {n: values[n] and datetime.fromisoformat(values[n]) for n in _TIME_FIELDS}
    lines = {n: tuple(values.get(n, ())) for n in ("matters", "untold")}
    return AlertState(**values | times | lines)
