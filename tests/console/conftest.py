"""A synced warehouse with a console."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.job import Job
from tests.support.office import Office
from tests.support.postgres import reader_of


@pytest.fixture
def office(job: Job, monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """An office with an account of 100 milestones, already synced."""
    monkeypatch.setenv("PUSH__ENABLED", "true")
    with Sandbox(milestones=100) as sandbox:
        job.synced(sandbox)
        if job.name == "postgres":
            monkeypatch.setenv("WAREHOUSE__READER_CREDENTIALS", reader_of(job.url))
        yield Office(job, sandbox)
