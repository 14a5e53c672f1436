"""Spark Connect servers, each started once, and their sessions."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import spark_servers
from tests.support.spark_servers import Server


@pytest.fixture(scope="session")
def single(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Sail in one process."""
    with spark_servers.sail(tmp_path_factory.mktemp("single")) as server:
        yield server


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Sail as a cluster of two workers, each too small for the marts."""
    with spark_servers.sail(tmp_path_factory.mktemp("cluster"), workers=2) as server:
        yield server


@pytest.fixture(scope="session")
def jvm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Spark itself, in ANSI mode, as Spark 4 is by default."""
    if reason := spark_servers.why_no_spark():
        pytest.skip(reason)
    with spark_servers.spark(tmp_path_factory.mktemp("jvm")) as server:
        yield server
