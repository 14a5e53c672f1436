"""The database a ledger is kept in, and what can go wrong with it."""

from __future__ import annotations

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
