"""A connection to the warehouse leaves nothing open."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psutil
import pyarrow as pa
import pytest

from pipelines.config.targets import duckdb_target
from warehouse.database import connect


class _InterruptedError(Exception):
    pass


def _interrupted(batches: Iterable[pa.RecordBatch]) -> None:
    for _ in batches:
        raise _InterruptedError


def test_an_interrupted_read_leaves_the_file_closed(tmp_path: Path) -> None:
    """The file is closed although the traceback keeps the batches, so it can be opened again."""
    target = duckdb_target(tmp_path / "loader.duckdb", tmp_path / "published.duckdb")
    with pytest.raises(_InterruptedError) as error, connect(target.destination) as database:
        _interrupted(database.batches("select * from range(200000)"))
    assert [file.path for file in psutil.Process().open_files() if "loader" in file.path] == []
    assert error.traceback
    with connect(target.destination) as database:
        assert database.rows("select 1") == [(1,)]
