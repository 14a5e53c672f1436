"""Who is informed of a run's progress."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sources.kantata import RequestLog


@dataclass(frozen=True, kw_only=True)
class RunObserver:
    """Who is told how a run goes on; by default nobody.

    Args:
        began: Told the run's id.
        phase: Told in a word or two what is being done.
        progress: Told rows read, pages read, and pages there are.
        note: Told in one line what is worth telling, as why a request is tried again.
        on_request: Told of each request to Kantata, and what became of it.
    """

    began: Callable[[str], None] = lambda _: None
    phase: Callable[[str], None] = lambda _: None
    progress: Callable[[int, int, int], None] = lambda _rows, _read, _pages: None
    note: Callable[[str], None] = lambda _: None
    on_request: Callable[[RequestLog], None] = lambda _: None
