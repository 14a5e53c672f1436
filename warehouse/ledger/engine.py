"""The database a ledger is kept in: its address, its engine, and what can go wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from warehouse.errors import WarehouseMisconfigured, WarehouseUnavailable, WarehouseUnwritable
from warehouse.postgres_url import POSTGRES_DRIVERS, POSTGRES_URL_FORM, is_postgres_url

from .schema import SCHEMA

_UNWRITABLE = ("readonly", "unable to open", "disk is full", "disk I/O")
_MISCONFIGURED = (
    "authentication failed", "does not exist", "not a database", "permission denied",
)  # fmt: skip


def check_ledger_url(url: str) -> str:
    """The address of a ledger, if it is one.

    Raises:
        WarehouseMisconfigured: If it is none.
    """
    if not url.startswith("sqlite"):
        if not is_postgres_url(url):
            raise WarehouseMisconfigured(
                "LEDGER__URL is neither as sqlite:///path/to/ledger.sqlite nor as "
                f"{POSTGRES_URL_FORM}"
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


def missing_ledger_message(url: str) -> str:
    """Says that there is no ledger yet; empty if there is one, or a database would hold it."""
    if not url.startswith("sqlite"):
        return ""
    file = Path(sa.make_url(url).database or "")
    return "" if file.exists() else f"there is no ledger at {file} yet: propose something first"


def create_ledger_engine(url: str) -> sa.Engine:
    """The engine of a ledger's database.

    Raises:
        WarehouseMisconfigured: If the address is none.
        WarehouseUnwritable: If its folder cannot be made.
    """
    try:
        parsed = sa.make_url(url)
    except ArgumentError:
        parsed = URL.create("none")
    if parsed.drivername in POSTGRES_DRIVERS:
        parsed = parsed.set(drivername="postgresql+psycopg2")
        return sa.create_engine(parsed, poolclass=NullPool, hide_parameters=True)
    if parsed.drivername not in ("sqlite", "sqlite+pysqlite") or not parsed.database:
        raise WarehouseMisconfigured(
            "LEDGER__URL must be sqlite:///path/to/ledger.sqlite or "
            "postgresql://user:password@host:5432/database"
        )
    return _create_sqlite_engine(parsed)


def _create_sqlite_engine(url: URL) -> sa.Engine:
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


def ledger_failure(error: DBAPIError, url: URL) -> Exception:
    """What the driver says, named by what to do next."""
    message = (str(error.orig).strip().splitlines() or ["no reason given"])[0][:300]
    if any(words in message for words in _UNWRITABLE):
        return WarehouseUnwritable(f"cannot write the ledger {url.database}: {message}")
    if any(words in message for words in _MISCONFIGURED):
        return WarehouseMisconfigured(f"the ledger cannot be opened: {message}. Mend LEDGER__URL.")
    return WarehouseUnavailable(f"the ledger failed: {message}")
