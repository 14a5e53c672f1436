"""What the records of one batch went through, since one may be read twice and change meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from .records import ObservedRecord, Reject
from .rows import TypedRows


@dataclass
class BatchReads:
    """What one record went through in one batch, in the order it was read.

    Args:
        row_digest: What stands for its row in the end; empty if it has none.
        last: The last read.
        reject: Why the last read could not be typed; None if it could.
        good: The reads that could, each with what stood for the row before it.
    """

    row_digest: bytes
    last: ObservedRecord
    reject: Reject | None = None
    good: list[tuple[ObservedRecord, bytes]] = field(default_factory=list)


def group_reads(reads: Sequence[ObservedRecord], typed: TypedRows) -> Collection[BatchReads]:
    """Tell reads of a batch apart by record.

    Args:
        reads: All of them, in order.
        typed: What they became.
    """
    rejects = {id(reject.observed): reject for reject in typed.rejects}
    good = iter(typed.records)
    groups: dict[str, BatchReads] = {}
    for read in reads:
        group = groups.setdefault(read.id, BatchReads(read.before, read))
        group.last, group.reject = read, rejects.get(id(read))
        if group.reject is None:
            observed = group.last = next(good)
            group.good.append((observed, group.row_digest))
            group.row_digest = observed.row_digest
    return groups.values()
