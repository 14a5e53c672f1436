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
class Told:
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


_TIMES = ("since", "last_success", "saved_at")


def from_file(path: Path) -> Told:
    """What the file says; nothing if there is none, or it is not whole."""
    try:
        return _read(path.read_text())
    except (OSError, ValueError, TypeError, KeyError):
        return Told()


def to_file(path: Path, told: Told) -> None:
    """Note it, whole or not at all.

    Raises:
        WarehouseUnwritable: If there is no room or no right.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_suffix(".new")
        new.write_text(_written(told))
        new.replace(path)
    except OSError as error:
        raise WarehouseUnwritable(f"cannot write {path}: {error.strerror}") from None


def from_warehouse(database: Database, job: str) -> Told:
    """What the warehouse says of a job; nothing if it says nothing.

    Raises:
        WarehouseError: If it cannot be asked.
    """
    if "alerts" not in database.tables():
        return Told()
    rows = database.rows(f"select told from {DATASET}.alerts where job = %s", job)
    return _read(rows[0][0]) if rows else Told()


def to_warehouse(database: Database, job: str, told: Told) -> None:
    """Note it in the warehouse, if a run has made its tables.

    Raises:
        WarehouseError: If it cannot be written.
    """
    if "alerts" not in database.tables():
        return
    with database.transaction():
        database.run(f"delete from {DATASET}.alerts where job = %s", job)
        database.run(f"insert into {DATASET}.alerts values (%s, %s)", job, _written(told))


def later(one: Told, other: Told) -> Told:
    """The one that was noted later; the first if neither knows when."""
    if other.saved_at and (one.saved_at is None or other.saved_at > one.saved_at):
        return other
    return one


def _written(told: Told) -> str:
    return json.dumps(asdict(told), default=lambda moment: moment.isoformat())


def _read(text: str) -> Told:
    values = json.loads(text)
    times = {n: values[n] and datetime.fromisoformat(values[n]) for n in _TIMES}
    lines = {n: tuple(values.get(n, ())) for n in ("matters", "untold")}
    return Told(**values | times | lines)
