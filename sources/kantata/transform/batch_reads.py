"""What the records of one batch went through, since one may be read twice and change meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from operator import is_

import pyarrow as pa

from .rows import ObservedRecord, Reject


@dataclass
class BatchReads:
    """What one record went through in one batch, in the order it was read.

    Args:
        row: What stands for its row in the end; empty if it has none.
        last: The last read.
        reject: Why the last read could not be typed; None if it could.
        good: The reads that could, each with what stood for the row before it.
    """

    row: bytes
    last: ObservedRecord
    reject: Reject | None = None
    good: list[tuple[ObservedRecord, bytes]] = field(default_factory=list)


def group_reads(
    reads: Sequence[ObservedRecord], good: Sequence[ObservedRecord], rejects: Sequence[Reject]
) -> Collection[BatchReads]:
    """Tell reads of a batch apart by record.

    Args:
        reads: All of them, in order.
        good: Those of them that could be typed, in order.
        rejects: The others.
    """
    bad = {id(reject.read): reject for reject in rejects}
    typed = iter(good)
    found: dict[str, BatchReads] = {}
    for raw in reads:
        story = found.setdefault(raw.id, BatchReads(raw.before, raw))
        story.last, story.reject = raw, bad.get(id(raw))
        if story.reject is None:
            read = story.last = next(typed)
            story.good.append((read, story.row))
            story.row = read.row
    return found.values()


def rows_of(
    table: pa.Table, good: Sequence[ObservedRecord], wanted: Sequence[ObservedRecord]
) -> pa.Table:
    """The rows of some of the reads a table was made of, in their order; of all mostly."""
    if len(wanted) == len(good) and all(map(is_, wanted, good)):
        return table
    positions = {id(read): row for row, read in enumerate(good)}
    return table.take([positions[id(read)] for read in wanted])
