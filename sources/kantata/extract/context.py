"""What one run is given: how to read the account, what the warehouse holds, what to do."""

from __future__ import annotations

from dataclasses import dataclass

from ..api.reader import KantataReader
from ..report import Report
from ..request import ExtractRequest
from ..state import WarehouseState


@dataclass(frozen=True, kw_only=True)
class ExtractContext:
    """What one run is given.

    Args:
        reader: The door to Kantata.
        state: What the warehouse holds.
        request: What the run should do.
        report: Where it tells what it found.
    """

    reader: KantataReader
    state: WarehouseState
    request: ExtractRequest
    report: Report
