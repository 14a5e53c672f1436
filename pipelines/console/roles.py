"""What the console's users may do, and how it knows who somebody is. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Role(StrEnum):
    """What a user may do; each may also do what those before may."""

    VIEWER = "viewer"
    PROPOSER = "proposer"
    APPROVER = "approver"

    def may(self, needed: Role) -> bool:
        """Return whether this role includes another one."""
        order = list(Role)
        return order.index(self) >= order.index(needed)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The person who sent a request.

    Args:
        name: The user's name, as the ledger records it.
        role: What the user may do.
        how: How the console knows: ``console login`` or ``proxy header``.
        csrf_token: The token that the user's forms must carry.
    """

    name: str
    role: Role
    how: str
    csrf_token: str
