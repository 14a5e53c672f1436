"""A sandbox of its own for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from sources.kantata_sandbox import Sandbox
from tests.support.kantata import NOW, Kantata


@pytest.fixture
def kantata() -> Iterator[Kantata]:
    """A sandbox of 450 milestones on 1 July 2026."""
    with Sandbox(milestones=450, now=NOW) as sandbox, requests.Session() as session:
        yield Kantata(sandbox, session)


@pytest.fixture
def empty() -> Iterator[Kantata]:
    """A sandbox without any milestone."""
    with Sandbox(milestones=0, now=NOW) as sandbox, requests.Session() as session:
        yield Kantata(sandbox, session)
