"""The read of the account that all tables share, within a dlt pipeline or without one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Literal

import dlt
from dlt.common import logger

from .api.reader import KantataReader
from .destination import AUTO, Start, start_of
from .extract.context import ExtractContext
from .extract.scan import Progress
from .extract.strategies import Chunk, read_account
from .report import Report
from .request import ExtractRequest
from .resources import ItemBuilder, ReadItem, set_dispositions
from .warehouse_state import WarehouseState


@dataclass(frozen=True, kw_only=True)
class AccountRead:
    """The read of the account, which the source does each time it is extracted.

    Args:
        new_reader: Makes a reader of the account.
        request: What to read.
        requests_in_flight: Concurrent requests of a full scan.
        progress: Called after each page of a scan.
        note: Called with one line of text: the kind of run, and why.
        state: What is loaded already, for ``items``; ``auto`` to ask the destination, None to
            replace it.
        report: Is filled with what ``items`` found; if None, warnings are logged.
    """

    new_reader: Callable[[], KantataReader]
    request: ExtractRequest
    requests_in_flight: int
    progress: Progress | None
    note: Callable[[str], None] | None
    state: WarehouseState | Literal["auto"] | None = AUTO
    report: Report | None = None

    def items(self) -> Iterator[ReadItem | None]:
        """Read the account, and yield its rows; if it is not read to the end, it is a sample."""
        report = Report() if self.report is None else self.report
        with start_of(self.state, self.request) as start:
            yield from read_items(
                self._chunks(start, report),
                report,
                keeps_history=start.keeps_history,
                load_id=start.load_id,
            )
            start.remember(report)
            if self.report is None:
                for line in [*report.warnings, *report.rejected]:
                    logger.warning(str(line))

    def changes(self, state: WarehouseState, report: Report) -> Iterator[Chunk] | None:
        """Begin the read without dlt; return its rows, or None if nothing changed.

        Args:
            state: What is loaded already.
            report: Is filled with what the read finds.
        """
        chunks = self._chunks(Start(state=state, request=self.request), report)
        first = next(chunks, None)
        return None if first is None else chain([first], chunks)

    def _chunks(self, start: Start, report: Report) -> Iterator[Chunk]:
        """Yield the rows of the read, from its start, and fill its report."""
        vars(report).update(vars(Report()))  # the same source may be extracted twice
        context = ExtractContext(
            reader=self.new_reader(), state=start.state, request=start.request, report=report
        )
        return read_account(
            context,
            requests_in_flight=self.requests_in_flight,
            progress=self.progress,
            note=self.note,
        )


def read_items(
    chunks: Iterable[Chunk],
    report: Report,
    *,
    keeps_history: bool,
    load_id: str | None = None,
    empty: Collection[str] = frozenset(),
) -> Iterator[ReadItem | None]:
    """Yield the rows of a read as items for dlt, with the turns in which it hands them to tables.

    Args:
        chunks: The rows.
        report: The report of the read, which is filled meanwhile.
        keeps_history: Whether rows are merged into what earlier loads left, or replace it.
        load_id: The load package to name in each row; None to leave that to dlt.
        empty: Tables that are replaced in every case, as long as no key comes twice.
    """
    source = dlt.current.source()
    set_dispositions(source, keeps_history=keeps_history, empty=empty)
    items = ItemBuilder(keeps_history=keeps_history, load_id=load_id)
    for batches in chunks:
        yield items.item(batches, merged=report.rewritten.intersection(empty))
        # dlt takes turns between this read and handing an item to each table. Without
        # these turns it would read on, and keep several items in memory.
        yield from [None] * (len(source.resources.selected) - 1)
