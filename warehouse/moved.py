"""The mark of a DuckDB warehouse that was moved to Postgres, so that nobody uses it any more."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from .errors import WarehouseError, WarehouseMoved, WarehouseUnwritable
from .private_files import replace_text
from .target import Target


@dataclass(frozen=True, kw_only=True)
class Move:
    """A move of a warehouse to Postgres.

    Args:
        moved_to: The server and database.
        moved_at: When, UTC, as text.
        is_complete: Whether everything was copied.
        retired_ledger: The file of the old ledger, renamed; None if there was none.
        ledger: The file's name before; None if there was none.
    """

    moved_to: str
    moved_at: str
    is_complete: bool
    retired_ledger: str | None
    ledger: str | None


def mark_as_moved(target: Target, move: Move) -> None:
    """Mark a DuckDB warehouse as moved.

    Raises:
        WarehouseUnwritable: If the mark cannot be written.
    """
    for file in _marks(target):
        try:
            replace_text(file, json.dumps(asdict(move), indent=1))
        except OSError as error:
            raise WarehouseUnwritable(f"cannot write {file}: {error.strerror}") from None


def check_not_moved(target: Target) -> None:
    """Check that a DuckDB warehouse was not moved to Postgres.

    A trial move is undone by giving the ledger its old name back.

    Raises:
        WarehouseMoved: If it was moved; it says where to, and how to undo a trial.
    """
    # Not Path.exists: it raises an error for a user who may not enter the folder.
    file = next((mark for mark in _marks(target) if os.path.exists(mark)), None)
    if file is None:
        return
    try:
        move = Move(**json.loads(file.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise WarehouseError(
            f"cannot read {file}: {error}. Remove it if this warehouse is in use."
        ) from None
    undo = " ".join(["rm", *(f"'{mark}'" for mark in _marks(target) if os.path.exists(mark))])
    if move.ledger and move.retired_ledger:
        is_retired = Path(move.retired_ledger).exists()
        if Path(move.ledger).exists() and not is_retired:
            return
        if is_retired:
            undo = f"mv '{move.retired_ledger}' '{move.ledger}'"
    place = f"the warehouse in {target.folder.absolute()}"
    if not move.is_complete:
        raise WarehouseMoved(
            f"the move of {place} to Postgres ({move.moved_to}) was interrupted: run "
            f"`milestones move` again. To use this warehouse instead: {undo}"
        )
    raise WarehouseMoved(
        f"{place} was moved to Postgres ({move.moved_to}) on {move.moved_at[:10]}: set "
        "WAREHOUSE__DESTINATION=postgres. If that was a trial, and this warehouse is still in "
        f"use: {undo}"
    )


def retired_name(ledger: Path) -> Path:
    """Return the name that a ledger's file gets once it is moved."""
    return ledger.with_name(f"{ledger.name}.moved")


def complete_move(target: Target) -> None:
    """Mark the move of a DuckDB warehouse as complete.

    Raises:
        WarehouseUnwritable: If the mark cannot be written.
    """
    move = Move(**json.loads(_marks(target)[0].read_text(encoding="utf-8")))
    mark_as_moved(target, replace(move, is_complete=True))


def _marks(target: Target) -> list[Path]:
    """Return the files that mark a warehouse as moved: next to the loader's, and the readers' file.

    Either is enough: people clean up the folder of the one, and the run after that would restore
    the warehouse from the other.
    """
    if target.loader is None or target.published is None:
        return []
    readers = target.published
    return [
        target.folder / f"{target.stem}.moved.json",
        readers.with_name(f"{readers.name}.moved.json"),
    ]
