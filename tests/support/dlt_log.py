"""What dlt logs while a test runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def dlt_warnings() -> Iterator[list[str]]:
    """Collect the warnings and errors that dlt logs."""
    messages: list[str] = []

    def note(record: logging.LogRecord) -> bool:
        if record.levelno >= logging.WARNING:
            messages.append(record.getMessage())
        return True

    logger = logging.getLogger("dlt")  # a filter, since dlt removes the handlers of others
    level = logger.level
    logger.setLevel(logging.WARNING)
    logger.addFilter(note)
    try:
        yield messages
    finally:
        logger.removeFilter(note)
        logger.setLevel(level or logging.CRITICAL)
