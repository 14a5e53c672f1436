"""Counts in messages."""

from __future__ import annotations

import pytest

from sources.kantata.extract import ids
from warehouse import words


@pytest.mark.parametrize(("count", "text"), [(0, "0 changes"), (1, "1 change"), (2, "2 changes")])
def test_one_is_singular(count: int, text: str) -> None:
    """There is no `1 changes`."""
    assert words.counted(count, "change") == ids.counted(count, "change") == text
