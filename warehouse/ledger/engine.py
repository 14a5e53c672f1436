"""The database a ledger is kept in, and what can go wrong with it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from warehouse.errors import WarehouseMisconfigured, WarehouseUnavailable, WarehouseUnwritable

from .schema import SCHEMA


def create_engine(url: str) -> sa.Engine:
    """The engine of a ledger's database.

    Raises:
        WarehouseMisconfigured: If the address is none.
        WarehouseUnwritable: If its folder cannot be made.
    """
    try:
        parsed = sa.make_url(url)
    except ArgumentError:
        parsed = URL.create("none")
    if parsed.drivername in ("postgresql", "postgres", "postgresql+psycopg2"):
        parsed = parsed.set(drivername="postgresql+psycopg2")
        return sa.create_engine(parsed, poolclass=NullPool, hide_parameters=True)
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite") or not parsed.database:
        raise WarehouseMisconfigured(
            "LEDGER__URL must be sqlite:///path/to/ledger.sqlite or "
            "postgresql://user:password@host:5432/database"
        )
    return _sqlite_engine(parsed)


def _sqlite_engine(url: URL) -> sa.Engine:
    path = Path(url.database or "")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WarehouseUnwritable(
            f"cannot make the ledger's folder {path.parent}: {error.strerror}"
        ) from None
    engine = sa.create_engine(
        url, poolclass=NullPool, connect_args={"timeout": 10}
    ).execution_options(schema_translate_map={SCHEMA: None})

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: object) -> None:  # noqa: ANN401 - a driver's own
        connection.isolation_level = None  # transactions begin when we say so
        cursor = connection.cursor()
        cursor.execute("pragma journal_mode = wal")
        cursor.execute("pragma synchronous = full")  # a change that was sent is never forgotten
        cursor.execute("pragma foreign_keys = on")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("begin immediate")  # else two writers could lock each other out

    return engine


def classify_failure(error: DBAPIError, url: URL) -> Exception:
    """What the driver says, named by what to do next."""
    said = (str(error.orig).strip().splitlines() or ["no reason given"])[0][:300]
    if any(words in said for words in ("readonly", "unable to open", "disk is full", "disk I/O")):
        return WarehouseUnwritable(f"cannot write the ledger {url.database}: {said}")
    wrong = ("authentication failed", "does not exist", "not a database", "permission denied")
    if any(words in said for words in wrong):
        return WarehouseMisconfigured(f"the ledger cannot be opened: {said}. Mend LEDGER__URL.")
    return WarehouseUnavailable(f"the ledger failed: {said}")


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
