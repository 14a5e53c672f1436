"""The system's chromium, for pages that tests and pictures look at."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

_PROGRAM = shutil.which("chromium")
_OPTIONS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
MARKS = [
    pytest.mark.browser,
    pytest.mark.skipif(_PROGRAM is None, reason="no chromium: install it (Debian: chromium)"),
]
"""The marks of tests that need it."""


@contextmanager
def chromium() -> Iterator[Any]:
    """Start a browser with an empty profile."""
    from playwright.sync_api import sync_playwright  # only `make test-browser` installs it

    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=_PROGRAM, args=_OPTIONS)
        yield browser
        browser.close()
