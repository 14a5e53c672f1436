"""A reader of the warehouse that a page of the console is made with: one consistent state."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from threading import Lock
from typing import Any, Protocol, TypeVar

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

    def chunks(self, sql: str, *values: object) -> Iterator[Sequence[tuple[Any, ...]]]:
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
        memory: What was read from this state before; None to read it each time.
        slots: Limits how many queries run at once; None for no limit.
    """

    def __init__(
        self,
        cursor: Any,  # noqa: ANN401 - a driver's
        source: str,
        marker: str,
        chunk_cursor: Any = None,  # noqa: ANN401 - a driver's
        memory: StateMemory | None = None,
        slots: AbstractContextManager[object] | None = None,
    ) -> None:
        self._slots = slots or nullcontext()
        self._memory = memory
        self._cursor = cursor
        self._marker = marker
        self._chunk_cursor = chunk_cursor or cursor
        self.source = source

    def _execute(self, cursor: Any, sql: str, values: Sequence[object]) -> Any:  # noqa: ANN401
        """Run a query with a cursor of the reader, and return the cursor."""
        with self._slots:
            if values:
                cursor.execute(sql.replace("%s", self._marker), list(values))
            else:
                cursor.execute(sql)
        return cursor

    def remembered(self, key: Hashable, read: Callable[[], T]) -> T:
        """Return what a function reads with this reader, or read before from the same state."""
        return read() if self._memory is None else self._memory.get(key, read)

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
