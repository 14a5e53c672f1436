"""Finding a change in the ledger by its id, or by the beginning of its id."""

from __future__ import annotations

from contextlib import suppress

import sqlalchemy as sa

from warehouse.errors import ChangeRefused

from . import schema
from .change import Change
from .store import Ledger

MIN_PREFIX = 4  # characters of an id that identify a change if no other id begins with them
_MOST_LISTED = 10  # candidates that a message lists


def find_change(ledger: Ledger, text: str) -> Change:
    """Return the change of the ledger with this id, or the only one whose id begins with it.

    Args:
        ledger: The ledger of changes.
        text: An id, or the first characters of one. A whole id is never read as a beginning.

    Raises:
        ChangeRefused: If there is no such change, or more than one.
    """
    found: list[str] = []
    with ledger.reading():
        if text.isascii():  # what the shell could not decode cannot be sent to a database, either
            with suppress(ChangeRefused):
                return ledger.change(text)
            found = _ids_beginning_with(ledger, text.strip().lower())
        if len(found) == 1:
            return ledger.change(found[0])
    if not found:
        raise ChangeRefused(
            f"there is no change {text}. Give its id, or at least its first {MIN_PREFIX} "
            "characters. List all: milestones changes --all"
        )
    more = f" and {len(found) - _MOST_LISTED:,} more" if len(found) > _MOST_LISTED else ""
    raise ChangeRefused(
        f"{len(found):,} changes begin with {text}: {', '.join(found[:_MOST_LISTED])}{more}. "
        "Give more characters of the id"
    )


def _ids_beginning_with(ledger: Ledger, prefix: str) -> list[str]:
    """Return the ids of the ledger's changes that begin with a prefix; none if it is too short."""
    if len(prefix) < MIN_PREFIX or not prefix.isalnum():
        return []
    column = schema.changes.c.change_id
    query = sa.select(column).where(column.startswith(prefix, autoescape=True)).order_by(column)
    return list(ledger.connection.execute(query).scalars())
