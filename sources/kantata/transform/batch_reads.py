"""Groups the reads of one batch by record: one may be read twice, and change meanwhile."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from .records import ObservedRecord, Reject
from .rows import TypedRows


@dataclass
class BatchReads:
    """The reads of one record in one batch, in order.

    Args:
        row_digest: The digest of its row after the last good read; empty if it has no row.
        last: The last read.
        reject: Why the last read could not be typed; None if it could.
        good: The reads that could be typed, each with the row's digest before it.
    """

    row_digest: bytes
    last: ObservedRecord
    reject: Reject | None = None
    good: list[tuple[ObservedRecord, bytes]] = field(default_factory=list)


def group_reads(reads: Sequence[ObservedRecord], typed: TypedRows) -> Collection[BatchReads]:
    """Group the reads of a batch by record, in the order in which they were read.

    Args:
        reads: All reads, in order.
        typed: The rows and rejects made of them.
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
