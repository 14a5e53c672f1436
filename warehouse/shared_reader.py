"""A reader of the warehouse that a page of the console is made with: one consistent state."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Generator, Hashable, Sequence
from threading import Lock
from typing import Any, Protocol, TypeVar

from .query_memory import QueryMemory, ServerMemory

_CHUNK = 5_000  # rows
_MOST_REMEMBERED = 1_000  # values
T = TypeVar("T")


class SharedReader(Protocol):
    """Runs queries on one consistent state of the warehouse; ``%s`` stands for a value."""

    source: str

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""

    def records(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Return the rows of a query as dictionaries, by column name."""

    def chunks(self, sql: str, *values: object) -> Generator[Sequence[tuple[Any, ...]], None, None]:
        """Yield the rows of a query, some thousands at a time."""

    def remembered(self, key: Hashable, read: Callable[[], T]) -> T:
        """Return what a function reads, read once for each state if the state has a memory."""


class StateMemory:
    """Values that were read from one state of the warehouse, which never changes."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._values: OrderedDict[Hashable, Any] = OrderedDict()

    def get(self, key: Hashable, read: Callable[[], T]) -> T:
        """Return the value of the state with this key, which is read if it is not known."""
        with self._lock:
            if key in self._values:
                self._values.move_to_end(key)
                known: T = self._values[key]
                return known
        value = read()  # two threads may read it: neither waits for the other
        with self._lock:
            self._values[key] = value
            if len(self._values) > _MOST_REMEMBERED:
                self._values.popitem(last=False)
        return value


class CursorReader:
    """Reads with a cursor of a driver.

    Args:
        cursor: The cursor.
        source: What it reads, for messages.
        marker: The driver's placeholder of a value.
        chunk_cursor: The cursor for rows that are read in chunks; None for the same.
        known: What was read from this state before; None to read it each time.
        memory: The memory of its queries; None for a server's.
    """

    def __init__(
        self,
        cursor: Any,  # noqa: ANN401 - a driver's
        source: str,
        marker: str,
        chunk_cursor: Any = None,  # noqa: ANN401 - a driver's
        known: StateMemory | None = None,
        memory: QueryMemory | None = None,
    ) -> None:
        self._known = known
        self._memory = memory or ServerMemory()
        self._cursor = cursor
        self._marker = marker
        self._chunk_cursor = chunk_cursor or cursor
        self.source = source

    def _execute(self, cursor: Any, sql: str, values: Sequence[object]) -> None:  # noqa: ANN401
        """Start a query with a cursor of the reader."""
        if values:
            cursor.execute(sql.replace("%s", self._marker), list(values))
        else:
            cursor.execute(sql)

    def remembered(self, key: Hashable, read: Callable[[], T]) -> T:
        """Return what a function reads with this reader, or read before from the same state."""
        return read() if self._known is None else self._known.get(key, read)

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query that this reader runs."""

        def read() -> list[tuple[Any, ...]]:
            self._execute(self._cursor, sql, values)
            return list(map(tuple, self._cursor.fetchall()))

        return self._memory.run(read)

    def records(self, sql: str, *values: object) -> list[dict[str, Any]]:
        """Return the rows of a query that this reader runs, by column name."""
        rows = self.rows(sql, *values)
        names = [column[0] for column in self._cursor.description or ()]
        return [dict(zip(names, row, strict=True)) for row in rows]

    def chunks(self, sql: str, *values: object) -> Generator[Sequence[tuple[Any, ...]], None, None]:
        """Yield the rows of a query that this reader runs, some thousands at a time."""

        def start() -> list[tuple[Any, ...]]:
            self._execute(self._chunk_cursor, sql, values)
            return self._fetch_chunk()

        with self._memory.large(start) as rows:
            while rows:
                yield rows
                rows = self._fetch_chunk()

    def _fetch_chunk(self) -> list[tuple[Any, ...]]:
        """Return the next rows of the query that is read in chunks."""
        chunk: list[tuple[Any, ...]] = self._chunk_cursor.fetchmany(_CHUNK)
        return chunk
