"""The memory that queries of many threads share on one DuckDB file: little, and more for a few."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from threading import BoundedSemaphore, Lock
from typing import Protocol, TypeVar

import duckdb

USUAL_MEMORY_MB = 40  # enough for two pages at once of a million milestones
_LARGE_MEMORY_MB = 128  # sorts ten million milestones whole; what does not fit goes to files
_QUERIES = 2  # at once: they share the memory, and more would run out of it
T = TypeVar("T")


class QueryMemory(Protocol):
    """Runs queries within the memory that there is for them."""

    def run(self, query: Callable[[], T]) -> T:
        """Return what a query of a page returns."""

    def large(self, start: Callable[[], T]) -> AbstractContextManager[T]:
        """Give what starts a query of many rows, whose other rows are read within the block."""


class ServerMemory:
    """The memory of a server, which limits its queries itself."""

    def run(self, query: Callable[[], T]) -> T:
        """Return what a query of the server returns."""
        return query()

    @contextmanager
    def large(self, start: Callable[[], T]) -> Iterator[T]:
        """Give what starts a query of the server."""
        yield start()


class SharedMemory:
    """The memory of one DuckDB file that many threads read.

    A query takes what it can get. One that runs out of memory runs again, with more and alone.

    Args:
        connection: A connection to the file, opened with ``USUAL_MEMORY_MB``.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection
        self._slots = BoundedSemaphore(_QUERIES)
        self._one_large = Lock()

    def run(self, query: Callable[[], T]) -> T:
        """Return what a query of the file returns."""
        with self._slots, suppress(duckdb.OutOfMemoryException):
            return query()
        with self._more(), self._alone():
            return query()

    @contextmanager
    def large(self, start: Callable[[], T]) -> Iterator[T]:
        """Give what starts a large query of the file; another one waits until the block ends."""
        with self._more(), self._slots:
            try:
                started = start()
            except duckdb.OutOfMemoryException:
                with self._others():
                    started = start()
            yield started

    @contextmanager
    def _more(self) -> Iterator[None]:
        """Raise the limit of the file for one query at a time."""
        with self._one_large:
            self._set_limit(_LARGE_MEMORY_MB)
            try:
                yield
            finally:
                self._set_limit(USUAL_MEMORY_MB)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait for the other queries of the file, and keep new ones waiting."""
        with self._slots, self._others():
            yield

    @contextmanager
    def _others(self) -> Iterator[None]:
        """Take the slots of all queries of the file but one."""
        with ExitStack() as taken:
            for _ in range(_QUERIES - 1):
                taken.enter_context(self._slots)
            yield

    def _set_limit(self, megabytes: int) -> None:
        """Set the limit of the file; if queries still use more, the next large one lowers it."""
        with suppress(duckdb.OutOfMemoryException):
            self._connection.execute(f"set memory_limit = '{megabytes}MB'")
