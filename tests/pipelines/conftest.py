"""Desks at which changes are asked for, approved and pushed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from sources.kantata_sandbox import Sandbox
from tests.pipelines.writing_desk import Desk

pytest.register_assert_rewrite("tests.pipelines.equality")  # so that it tells what differs


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
    """A desk with a ledger in a file, for what no ledger has a part in."""
    with Sandbox(milestones=50) as sandbox:
        yield Desk(sandbox, f"sqlite:///{tmp_path / 'ledger.sqlite'}")
