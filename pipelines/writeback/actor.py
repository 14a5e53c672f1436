"""The actor: the person who proposes changes or decides on them."""

from __future__ import annotations

import getpass

from warehouse.errors import ChangeRefused

from .fields import check_text


def current_actor(name: str | None) -> str:
    """Return the actor's name: the given one, or the system's user.

    Raises:
        ChangeRefused: If the name is empty or has invisible characters.
    """
    try:
        actor = getpass.getuser() if name is None else check_text("--as", name).strip()
    except (OSError, KeyError):  # a container may have no name for its user
        raise ChangeRefused(
            "the operating system has no name for its user: add --as NAME"
        ) from None
    if not actor:
        raise ChangeRefused("--as is empty: give a name")
    return " ".join(actor.split())
