"""The context of one run: how to read the account, what the warehouse holds, what to do."""

from __future__ import annotations

from dataclasses import dataclass

from ..api.reader import KantataReader
from ..report import Report
from ..request import ExtractRequest
from ..warehouse_state import WarehouseState


@dataclass(frozen=True, kw_only=True)
class ExtractContext:
    """The context that the parts of one run share.

    Args:
        reader: Reads from Kantata.
        state: What the warehouse holds.
        request: What the run should do.
        report: Is filled with what the run found.
    """

    reader: KantataReader
    state: WarehouseState
    request: ExtractRequest
    report: Report
