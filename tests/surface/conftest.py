"""One life shared by all tests of the surface, since it takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.postgres import empty_database
from tests.surface.snapshot import Lived
from tests.surface.snapshot import lived as begin


@pytest.fixture(scope="session")
def lived(postgres_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lived]:
    """The results of two lives: one on DuckDB, and a short one on Postgres."""
    folder = tmp_path_factory.mktemp("surface")
    with empty_database(postgres_server) as first, empty_database(postgres_server) as second:
        yield begin(folder, first, second)
