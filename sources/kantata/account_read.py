"""The read of the account that all tables share, within a dlt pipeline or without one."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import dlt
from dlt.common import logger

from .api.reader import KantataReader
from .destination import start_of
from .extract.context import ExtractContext
from .extract.scan import Progress
from .extract.strategies import read_account
from .report import Report
from .request import ExtractRequest
from .resources import ItemBuilder, ReadItem, set_dispositions
from .state import WarehouseState


@dataclass(frozen=True, kw_only=True)
class AccountRead:
    """The read of the account, which the source does each time it is extracted.

    Args:
        new_reader: Makes a reader of the account.
        state: What is loaded already; ``auto`` to ask the destination, None to replace it.
        request: What to read.
        report: Is filled with what the read found; if None, warnings are logged.
        requests_in_flight: Concurrent requests of a full scan.
        progress: Called after each page of a scan.
        note: Called with one line of text: the kind of run, and why.
    """

    new_reader: Callable[[], KantataReader]
    state: WarehouseState | Literal["auto"] | None
    request: ExtractRequest
    report: Report | None
    requests_in_flight: int
    progress: Progress | None
    note: Callable[[str], None] | None

    def items(self) -> Iterator[ReadItem | None]:
        """Read the account, and yield its rows; if it is not read to the end, it is a sample."""
        source = dlt.current.source()
        tables = len(source.resources.selected)
        report = Report() if self.report is None else self.report
        vars(report).update(vars(Report()))  # the same source may be extracted twice
        with start_of(self.state, self.request) as start:
            set_dispositions(source, keeps_history=start.keeps_history)
            items = ItemBuilder(keeps_history=start.keeps_history, load_id=start.load_id)
            context = ExtractContext(
                reader=self.new_reader(),
                state=start.state,
                request=start.request,
                report=report,
            )
            for batches in read_account(
                context,
                requests_in_flight=self.requests_in_flight,
                progress=self.progress,
                note=self.note,
            ):
                yield items.item(batches)
                # dlt takes turns between this read and handing an item to each table. Without
                # these turns it would read on, and keep several items in memory.
                yield from [None] * (tables - 1)
            start.remember(report)
            if self.report is None:
                for line in [*report.warnings, *report.rejected]:
                    logger.warning(str(line))
