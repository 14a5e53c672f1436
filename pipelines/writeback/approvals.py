"""Where a command works on changes: the ledger, and who works on it."""

from __future__ import annotations

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from warehouse.errors import ChangeRefused
from warehouse.ledger.engine import missing_ledger_message
from warehouse.ledger.store import Ledger, connect_ledger
from warehouse.target import Target

from .fields import check_text


@contextmanager
def open_ledger(where: Target) -> Iterator[Ledger]:
    """Open the ledger to look into it, or to decide: only who proposes makes a new one.

    Args:
        where: The warehouse it belongs to.

    Raises:
        ChangeRefused: If there is none yet.
        WarehouseError: If it cannot be opened.
    """
    url = where.ledger_url
    if why := missing_ledger_message(url):
        raise ChangeRefused(why)
    with connect_ledger(url, now) as ledger:
        yield ledger


def now() -> datetime:
    """The time of this machine, UTC."""
    return datetime.now(UTC)


def current_actor(name: str | None) -> str:
    """Who works on a change: the name given, or the system's user.

    Raises:
        ChangeRefused: If the name is none.
    """
    try:
        found = getpass.getuser() if name is None else check_text("--as", name).strip()
    except (OSError, KeyError):  # a container may have no name for its user
        raise ChangeRefused(
            "the system has no name for its user: say who it is, --as NAME"
        ) from None
    if not found:
        raise ChangeRefused("--as is empty: say who it is")
    return " ".join(found.split())
