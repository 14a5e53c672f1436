"""What a Postgres address must look like: that of the warehouse, and that of a ledger."""

from __future__ import annotations

import re

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from .errors import WarehouseMisconfigured

POSTGRES_DRIVERS = ("postgresql", "postgres", "postgresql+psycopg2")
POSTGRES_URL_FORM = (
    "postgresql://user:password@host:5432/database. In a password write @ as %40, / as %2F, "
    "? as %3F, # as %23, : as %3A and % as %25."
)
_HOST = re.compile(r"[A-Za-z0-9._-]*|[0-9A-Fa-f:.]+")  # an empty one is this machine's socket


def check_postgres_url(url: str, setting: str) -> str:
    """An address of Postgres, if it is one; it is never shown, since a password may be anywhere.

    Args:
        url: The address.
        setting: What to call the setting when it is none.

    Raises:
        WarehouseMisconfigured: If it is none.
    """
    if not is_postgres_url(url):
        raise WarehouseMisconfigured(f"{setting} is not as {POSTGRES_URL_FORM}")
    return url


def is_postgres_url(url: str) -> bool:
    """Whether an address leads to a Postgres."""
    try:
        parts = sa.make_url(url)
    except (ArgumentError, ValueError):
        return False
    return (
        parts.drivername in POSTGRES_DRIVERS
        and _HOST.fullmatch(parts.host or "") is not None
        and 0 < (parts.port or 5432) < 65536
        and "@" not in (parts.database or "")
        and url.count("@") <= 1  # a second one is of a password, and what follows is no host
    )
