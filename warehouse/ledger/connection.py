"""Connecting to a ledger, which is created if there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import datetime

from sqlalchemy.exc import DBAPIError, ProgrammingError

from warehouse.errors import WarehouseMisconfigured

from . import schema
from .engine import create_ledger_engine, ledger_failure
from .store import Ledger
from .url import missing_ledger_message

_NO_LEDGER = (
    "there is no ledger in this database yet, and this role may not create it. Run `milestones "
    "changes` once as the role of the job. With warehouse/roles.sql, that is milestones_loader; if "
    "the schema is gone: create schema kantata_ledger authorization milestones_loader"
)


def ledger_exists(url: str) -> bool:
    """Return whether there is a ledger at this URL, without creating it.

    Raises:
        WarehouseError: If its database cannot be asked.
    """
    if missing_ledger_message(url):
        return False
    engine = create_ledger_engine(url)
    try:
        with closing(engine.connect()) as connection:
            return schema.exists(connection)
    except DBAPIError as error:
        raise ledger_failure(error, engine.url) from error
    finally:
        engine.dispose()


@contextmanager
def read_ledger(url: str, now: Callable[[], datetime]) -> Iterator[Ledger | None]:
    """Open a ledger to read its closed months, without creating or migrating it.

    Args:
        url: As for ``connect_ledger``.
        now: Returns the current time, UTC.

    Yields:
        The ledger; None if there is none, or if an earlier release wrote it last.

    Raises:
        WarehouseError: If its database cannot be asked.
    """
    if missing_ledger_message(url):
        yield None
        return
    engine = create_ledger_engine(url)
    try:
        with closing(engine.connect()) as connection:
            ledger = Ledger(connection, now)
            yield ledger if schema.has_periods(connection) else None
    except DBAPIError as error:
        raise ledger_failure(error, engine.url) from error
    finally:
        engine.dispose()


@contextmanager
def connect_ledger(url: str, now: Callable[[], datetime]) -> Iterator[Ledger]:
    """Open a ledger, and create it if there is none.

    Args:
        url: ``sqlite:///path`` or ``postgresql://user:password@host:5432/database``.
        now: Returns the current time, UTC.

    Raises:
        WarehouseMisconfigured: If the URL is invalid, or a later release wrote the ledger.
        WarehouseUnwritable: If the SQLite file cannot be written.
        WarehouseUnavailable: If the database does not answer.
    """
    engine = create_ledger_engine(url)
    try:
        with ExitStack() as stack:
            stack.callback(engine.dispose)
            connection = stack.enter_context(engine.connect())
            try:
                schema.prepare_ledger(connection)
            except ProgrammingError as error:
                if "permission denied" in str(error) and not schema.exists(connection):
                    raise WarehouseMisconfigured(_NO_LEDGER) from error
                raise
            yield Ledger(connection, now)
    except DBAPIError as error:
        raise ledger_failure(error, engine.url) from error
