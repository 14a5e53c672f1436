"""Reading the warehouse without being in the way of a run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import duckdb

from warehouse.database import opened, reason
from warehouse.errors import WarehouseBusy, WarehouseError
from warehouse.lock import file_lock

from .settings import Place

NOTHING_YET = "holds no milestones yet: run `milestones sync`"


class Query(Protocol):
    """Asks the warehouse."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """The rows of a query."""

    def named(self, sql: str) -> list[dict[str, Any]]:
        """The rows of a query, each by the names of its columns."""


@contextmanager
def queried(place: Place) -> Iterator[tuple[str, Query]]:
    """The warehouse itself, or the published file while a run has it: its name, and how to ask.

    Raises:
        WarehouseError: If there is none, or it cannot be read.
    """
    if place.loader is None:
        with opened(place.pipeline()) as database:
            if "billing_milestones" not in database.tables():
                raise WarehouseError(f"Postgres {NOTHING_YET}")
            database.run("set default_transaction_read_only = on")
            yield "Postgres", database
        return
    if not place.loader.exists():
        raise WarehouseError(f"there is no {place.loader} yet: run `milestones sync`")
    try:
        with file_lock(place.lock, shared=True), _file(place.loader) as query:
            yield str(place.loader), query
    except WarehouseBusy as busy:
        if place.published is None or not place.published.exists():
            raise
        with _file(place.published) as query:
            yield f"{place.published} ({busy})", query


class _File:
    """A DuckDB file that is only read."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._connection.execute(sql).fetchall()

    def named(self, sql: str) -> list[dict[str, Any]]:
        cursor = self._connection.execute(sql)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]


@contextmanager
def _file(path: Path) -> Iterator[Query]:
    try:
        connection = duckdb.connect(
            str(path), read_only=True, config={"autoinstall_known_extensions": False}
        )
    except duckdb.Error as error:
        raise WarehouseError(f"cannot read {path}: {reason(error)}") from None
    with connection:
        yield _File(connection)
