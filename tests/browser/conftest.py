"""The browser that the tests of pages share."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.chromium import chromium


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """A browser with an empty profile."""
    with chromium() as started:
        yield started
