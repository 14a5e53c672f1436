"""Functions that are called as a run progresses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sources.kantata import RequestLog


@dataclass(frozen=True, kw_only=True)
class RunObserver:
    """Functions that are called as a run progresses; by default they do nothing.

    Args:
        began: Called with the run's id when the run begins.
        phase: Called with a short name, such as "loading", when a step begins.
        progress: Called with the rows read, the pages read and the number of pages.
        note: Called with one line to log, such as why a request is repeated.
        on_request: Called with each finished request to Kantata.
    """

    began: Callable[[str], None] = lambda _: None
    phase: Callable[[str], None] = lambda _: None
    progress: Callable[[int, int, int], None] = lambda _rows, _read, _pages: None
    note: Callable[[str], None] = lambda _: None
    on_request: Callable[[RequestLog], None] = lambda _: None
