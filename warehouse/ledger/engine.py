"""The database of a ledger: its SQLAlchemy engine, and its failures."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Any

import psycopg2
import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool

from warehouse.errors import (
    ChangeRefused,
    LedgerDamaged,
    WarehouseError,
    WarehouseMisconfigured,
    WarehouseMoved,
    WarehouseUnavailable,
    WarehouseUnwritable,
)
from warehouse.moved import retired_name
from warehouse.postgres_url import SESSION_SETTINGS, postgres_parameters, postgres_uri
from warehouse.private_files import make_private_file, make_private_folder

from .triggers import SCHEMA
from .url import check_ledger_url, is_sqlite, sqlite_file

RESTORE_LEDGER = (
    "Restore it from a backup, or from its copy in the warehouse: "
    "milestones restore --ledger-from warehouse --reason TEXT"
)
_UNWRITABLE = ("readonly", "unable to open", "disk is full", "disk I/O")
_DAMAGED = ("malformed", "no such table", "no such column", f'relation "{SCHEMA}.')
_MISCONFIGURED = ("authentication failed", "does not exist", "not a database")
_RAISED_BY_TRIGGER = "P0001"


def create_ledger_engine(url: str) -> sa.Engine:
    """Return the SQLAlchemy engine of a ledger's database.

    Raises:
        WarehouseMisconfigured: If the URL is invalid.
        WarehouseUnwritable: If the folder of the SQLite file cannot be created.
    """
    if is_sqlite(check_ledger_url(url)):
        return _create_sqlite_engine(url)
    uri = postgres_uri(postgres_parameters(url, "LEDGER__URL"))
    return sa.create_engine(
        "postgresql+psycopg2://",
        creator=partial(_connect_postgres, uri),
        poolclass=NullPool,
        hide_parameters=True,
    )


def _connect_postgres(uri: str) -> Any:  # noqa: ANN401 - psycopg2 has no types
    """Return a new connection to a ledger's Postgres, which stays open while a push waits."""
    connection = psycopg2.connect(uri)
    with connection, connection.cursor() as cursor:
        cursor.execute(SESSION_SETTINGS)
    return connection


def _create_sqlite_engine(url: str) -> sa.Engine:
    """Return the SQLAlchemy engine of a ledger's SQLite file, whose folder it creates."""
    path = sqlite_file(url)
    try:
        make_private_folder(path.parent)
        make_private_file(path)
    except OSError as error:
        raise WarehouseUnwritable(
            f"cannot create the ledger's folder {path.parent}: {error.strerror}"
        ) from None
    opened = _file_key(path)
    engine = sa.create_engine(
        url, poolclass=NullPool, connect_args={"timeout": 10}
    ).execution_options(schema_translate_map={SCHEMA: None})

    @sa.event.listens_for(engine, "connect")
    def _on_connect(connection: Any, _record: object) -> None:  # noqa: ANN401 - a driver's own
        connection.isolation_level = None  # SQLAlchemy begins the transactions, not the driver
        cursor = connection.cursor()
        cursor.execute("pragma journal_mode = wal")
        cursor.execute("pragma synchronous = full")  # a change marked as sent survives a power cut
        cursor.execute("pragma foreign_keys = on")
        cursor.close()

    @sa.event.listens_for(engine, "begin")
    def _on_begin(connection: Connection) -> None:
        connection.exec_driver_sql("begin immediate")  # otherwise two writers could deadlock
        # Not before: a move renames the file in a transaction, for which this one has waited.
        if _file_key(path) != opened:
            connection.exec_driver_sql("rollback")
            raise _renamed_while_open(path, opened)

    return engine


def _file_key(path: Path) -> tuple[int, int] | None:
    """Return what distinguishes the file at this path from any other; None if there is none."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _renamed_while_open(path: Path, opened: tuple[int, int] | None) -> WarehouseError:
    """Return the error for an open SQLite ledger whose file has another name now.

    Whatever would be written to it would be lost: nobody reads this file any more.
    """
    if opened is not None and _file_key(retired_name(path)) == opened:
        return WarehouseMoved(
            f"the ledger {path} was moved to Postgres, so nothing was done: set "
            "WAREHOUSE__DESTINATION=postgres, and repeat the command"
        )
    return WarehouseUnavailable(
        f"the ledger {path} was replaced or removed while it was in use, so nothing more was done: "
        "repeat the command"
    )


def ledger_failure(error: DBAPIError, url: URL) -> Exception:
    """Return the warehouse error for a failure of a ledger's database."""
    message = (str(error.orig).strip().splitlines() or ["no reason given"])[0][:300]
    if any(words in message for words in _UNWRITABLE):
        return WarehouseUnwritable(f"cannot write the ledger {url.database}: {message}")
    if getattr(error.orig, "pgcode", None) == _RAISED_BY_TRIGGER:
        return ChangeRefused(f"the ledger refused it: {message}")
    if "permission denied" in message:
        return WarehouseMisconfigured(
            f"this role may not do that in the ledger: {message}. See warehouse/roles.sql"
        )
    if any(words in message for words in _DAMAGED):
        return ledger_damaged(message)
    if any(words in message for words in _MISCONFIGURED):
        return WarehouseMisconfigured(
            f"the ledger cannot be opened: {message}. Correct LEDGER__URL. If it is right, the "
            f"ledger is damaged. {RESTORE_LEDGER}"
        )
    return WarehouseUnavailable(f"the ledger failed: {message}")


def ledger_damaged(why: str) -> LedgerDamaged:
    """Return the error for a ledger whose database opens, but whose content cannot be read."""
    return LedgerDamaged(f"the ledger is damaged: {why}. {RESTORE_LEDGER}")
