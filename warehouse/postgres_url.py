"""Which texts are Postgres URLs: for the credentials of the warehouse, and for a ledger."""

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
_HOST = re.compile(r"[A-Za-z0-9._-]*|[0-9A-Fa-f:.]+")  # empty: the socket of this machine


def check_postgres_url(url: str, setting: str) -> str:
    """Return a Postgres URL unchanged if it is valid.

    Args:
        url: The URL. Messages never contain it, since any part of it may be a password.
        setting: The name of the setting it comes from, for the message.

    Raises:
        WarehouseMisconfigured: If it is not a Postgres URL.
    """
    if not is_postgres_url(url):
        raise WarehouseMisconfigured(f"{setting} must have the form {POSTGRES_URL_FORM}")
    return url


def is_postgres_url(url: str) -> bool:
    """Return whether a text is a URL of a Postgres database."""
    try:
        parts = sa.make_url(url)
    except (ArgumentError, ValueError):
        return False
    return (
        parts.drivername in POSTGRES_DRIVERS
        and _HOST.fullmatch(parts.host or "") is not None
        and 0 < (parts.port or 5432) < 65536
        and "@" not in (parts.database or "")
        and url.count("@") <= 1  # a second @ belongs to the password, and then no host follows
    )
