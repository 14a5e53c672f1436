"""Lakes of tests: in a folder, and in the bucket of a real S3 server."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from tests.support.lake import Lake
from tests.support.object_store import BUCKET, Front, front, object_store, options


@pytest.fixture
def lake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake in a folder."""
    monkeypatch.setenv("LAKE__URL", str(tmp_path / "lake"))
    return Lake(str(tmp_path / "lake"))


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an S3 server."""
    with object_store(tmp_path_factory.mktemp("s3")) as address:
        yield address


@pytest.fixture
def store(s3: str) -> Iterator[Front]:
    """A server in front of it, whose answers a test decides."""
    with front(s3) as server:
        yield server


@pytest.fixture
def bucket(s3: str, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake in a bucket."""
    return _lake_at(s3, monkeypatch)


@pytest.fixture
def watched(s3: str, store: Front, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """A lake in a bucket that is written through ``store``, and read without it."""
    lake = _lake_at(store.address, monkeypatch)
    return Lake(lake.url, options(s3))


def _lake_at(address: str, monkeypatch: pytest.MonkeyPatch) -> Lake:
    """Configure a lake of its own in the bucket at an address."""
    lake = Lake(f"s3://{BUCKET}/{uuid4().hex}", options(address))
    monkeypatch.setenv("LAKE__URL", lake.url)
    for key, value in lake.options.items():
        monkeypatch.setenv(f"LAKE__STORAGE_OPTIONS__{key.upper()}", value)
    return lake
