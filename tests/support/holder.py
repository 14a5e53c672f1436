"""Another process that has a DuckDB file open, as a person with DuckDB's command line has."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import duckdb

from tests.support.processes import start_function


class NotOpened(Exception):
    """The other process could not open the file."""


@contextmanager
def held_open(file: Path, *, read_only: bool = True) -> Iterator[None]:
    """Keep a DuckDB file open in another process.

    Raises:
        NotOpened: If that process cannot open it.
    """
    with start_function("tests.support.holder:hold_open", str(file), read_only) as process:
        assert process.stdout is not None
        if process.stdout.readline() != "open\n":
            raise NotOpened
        yield


def hold_open(file: str, read_only: bool) -> None:
    """Open a DuckDB file if possible, and keep it open until this process is killed."""
    with ExitStack() as stack:
        try:
            stack.enter_context(duckdb.connect(file, read_only=read_only))
            print("open")
        except duckdb.Error:
            print("not open")
        sys.stdout.flush()
        time.sleep(3600)
