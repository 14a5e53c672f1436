"""Who proposes changes and decides on them."""

from __future__ import annotations

import getpass

from warehouse.errors import ChangeRefused

from .fields import check_text


def current_actor(name: str | None) -> str:
    """Who works on a change: the name given, or the system's user.

    Raises:
        ChangeRefused: If the name is none.
    """
    try:
        actor = getpass.getuser() if name is None else check_text("--as", name).strip()
    except (OSError, KeyError):  # a container may have no name for its user
        raise ChangeRefused(
            "the system has no name for its user: say who it is, --as NAME"
        ) from None
    if not actor:
        raise ChangeRefused("--as is empty: say who it is")
    return " ".join(actor.split())
