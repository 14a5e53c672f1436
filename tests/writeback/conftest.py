"""Ledgers, and the accounts to which their changes are written."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.job import Job
from tests.support.ledgers import Kind
from tests.support.office import Office
from tests.support.postgres import reader_of
from tests.support.writing_desk import Desk


@pytest.fixture(params=["sqlite", "postgres"])
def desk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Desk]:
    """A desk, once for each kind of ledger."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    else:
        url = request.getfixturevalue("postgres_url")
    with Sandbox(milestones=50) as sandbox:
        yield Desk(sandbox, url)


@pytest.fixture
def file_desk(tmp_path: Path) -> Iterator[Desk]:
    """A desk with a ledger in a file, for tests that do not depend on the kind of ledger."""
    with Sandbox(milestones=50) as sandbox:
        yield Desk(sandbox, f"sqlite:///{tmp_path / 'ledger.sqlite'}")


@pytest.fixture
def office(job: Job, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """An office with an account of 100 milestones, already synced."""
    monkeypatch.setenv("PUSH__ENABLED", "true")
    with Sandbox(milestones=100) as sandbox:
        job.synced(sandbox)
        if job.name == "postgres":
            monkeypatch.setenv("WAREHOUSE__READER_CREDENTIALS", reader_of(job.url))
        yield Office(job, sandbox)


@pytest.fixture(params=["sqlite", "postgres"])
def kind(request: pytest.FixtureRequest, tmp_path: Path) -> Kind:
    """A ledger that does not exist yet."""
    if request.param == "sqlite":
        return Kind(f"sqlite:///{tmp_path}/deep/ledger.sqlite", "")
    return Kind(str(request.getfixturevalue("postgres_url")), "kantata_ledger.")
