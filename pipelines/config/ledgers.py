"""Where the ledger of changes is, and whether there is one yet."""

from __future__ import annotations

import re
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError

from warehouse.errors import WarehouseMisconfigured

_POSTGRES = ("postgresql", "postgres", "postgresql+psycopg2")
_HOST = re.compile(r"[A-Za-z0-9._-]*|[0-9A-Fa-f:.]+")  # an empty one is this machine's socket
_AS_POSTGRES = (
    "postgresql://user:password@host:5432/database. In a password write @ as %40, / as %2F, "
    "? as %3F, # as %23, : as %3A and % as %25."
)


def check_postgres_url(url: str, name: str) -> str:
    """An address of Postgres, if it is one; it is never shown, since a password may be anywhere.

    Args:
        url: The address.
        name: What to call the setting when it is none.

    Raises:
        WarehouseMisconfigured: If it is none.
    """
    if not _is_postgres(url):
        raise WarehouseMisconfigured(f"{name} is not as {_AS_POSTGRES}")
    return url


def _is_postgres(url: str) -> bool:
    try:
        parts = sa.make_url(url)
    except (ArgumentError, ValueError):
        return False
    return (
        parts.drivername in _POSTGRES
        and _HOST.fullmatch(parts.host or "") is not None
        and 0 < (parts.port or 5432) < 65536
        and "@" not in (parts.database or "")
        and url.count("@") <= 1  # a second one is of a password, and what follows is no host
    )


def check_ledger_url(url: str) -> str:
    """The address of a ledger, if it is one.

    Raises:
        WarehouseMisconfigured: If it is none.
    """
    if not url.startswith("sqlite"):
        if not _is_postgres(url):
            raise WarehouseMisconfigured(
                f"LEDGER__URL is neither as sqlite:///path/to/ledger.sqlite nor as {_AS_POSTGRES}"
            )
        return url
    try:
        database = sa.make_url(url).database or ""
    except (ArgumentError, ValueError):
        database = ""
    if not database or database == ":memory:" or database.startswith("file:"):
        raise WarehouseMisconfigured(
            "LEDGER__URL must name a file: sqlite:///path/to/ledger.sqlite"
        )
    return url


def why_no_ledger(url: str) -> str:
    """Says that there is no ledger yet; empty if there is one, or a database would hold it."""
    if not url.startswith("sqlite"):
        return ""
    file = Path(sa.make_url(url).database or "")
    return "" if file.exists() else f"there is no ledger at {file} yet: propose something first"
