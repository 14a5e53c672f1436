"""A reader of the warehouse that a page of the console is made with: one consistent state."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

_CHUNK = 5_000  # rows


class SharedReader(Protocol):
    """Runs queries on one consistent state of the warehouse; ``%s`` stands for a value."""

    source: str

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""

    def records(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Return the rows of a query as dictionaries, by column name."""

    def chunks(self, sql: str, *values: object) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Yield the rows of a query, some thousands at a time."""


class CursorReader:
    """Reads with a cursor of a driver.

    Args:
        cursor: The cursor.
        source: What it reads, for messages.
        marker: The driver's placeholder of a value.
        chunk_cursor: The cursor for rows that are read in chunks; None for the same.
    """

    def __init__(
        self,
        cursor: Any,  # noqa: ANN401 - a driver's
        source: str,
        marker: str,
        chunk_cursor: Any = None,  # noqa: ANN401 - a driver's
    ) -> None:
        self._cursor = cursor
        self._marker = marker
        self._chunk_cursor = chunk_cursor or cursor
        self.source = source

    def _execute(self, cursor: Any, sql: str, values: Sequence[object]) -> Any:  # noqa: ANN401
        """Run a query with a cursor of the reader, and return the cursor."""
        if values:
            cursor.execute(sql.replace("%s", self._marker), list(values))
        else:
            cursor.execute(sql)
        return cursor

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query that this reader runs."""
        return list(map(tuple, self._execute(self._cursor, sql, values).fetchall()))

    def records(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Return the rows of a query that this reader runs, by column name."""
        cursor = self._execute(self._cursor, sql, values)
        names = [column[0] for column in cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def chunks(self, sql: str, *values: object) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Yield the rows of a query that this reader runs, some thousands at a time."""
        cursor = self._execute(self._chunk_cursor, sql, values)
        while rows := cursor.fetchmany(_CHUNK):
            yield rows
