"""Compares side-loaded records with what their table holds, so that only changed rows are loaded.

They are compared with their own table, not with the milestone's, so that a crash between two
tables repairs itself in the next run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime

from ..api.envelope import Record
from ..settings import BATCH_ROWS
from .batch_reads import group_reads
from .fingerprint import content_of, row_hash
from .milestone_index import DELETED
from .records import ObservedRecord
from .rejects import Rejects, storable
from .rows import Batch, RowBuilder


class SideTableDiff:
    """Compares the side-loaded records of one type with their table.

    Args:
        rows: Makes their rows.
        digests: The digests of the warehouse's rows, by key.
        rejects: Keeps records that cannot be typed.
        rewritten: The table's name is added when a row is not the first of its key.
    """

    def __init__(
        self, rows: RowBuilder, digests: dict[str, bytes], rejects: Rejects, rewritten: set[str]
    ) -> None:
        self.rows = rows
        self.changed = 0
        self._rewritten = rewritten
        self.new_ids: set[str] = set()  # records that the warehouse did not have
        self._digests = digests
        self._rejects = rejects
        self._buffer: list[ObservedRecord] = []
        self._buffered: set[str] = set()  # not typed yet
        self._last_change: dict[str, datetime] = {}
        self._always_load: set[str] = set()
        self.unseen_rejects = rejects.open_ids(
            rows.table.name
        )  # whose records no page has shown so far

    def ids(self) -> set[str]:
        """Return the ids of all side-loaded records in the warehouse or read since."""
        return set(self._digests)

    @property
    def name(self) -> str:
        """The name of the table that side-loaded records are compared with."""
        return self.rows.table.name

    def compare(
        self, records: Mapping[str, Record], observed_at: datetime, *, load_unchanged: bool = False
    ) -> Iterator[Batch]:
        """Compare side-loaded records with their table; yield a batch when enough differ.

        Args:
            records: The records, by id.
            observed_at: When they were read.
            load_unchanged: Whether unchanged records are loaded, too, for their ``observed_at``.
        """
        self.rows.watch(records.values())
        self._always_load |= records.keys() if load_unchanged else set()
        if self.unseen_rejects:
            self.unseen_rejects.difference_update(map(storable, records))
        for id_, received in records.items():
            record, content = content_of(received)
            before = self._digests.get(id_, b"")
            if self.rows.is_same(record, content, before) and id_ not in self._always_load:
                if id_ not in self._buffered:
                    self._rejects.resolve(self.name, id_, observed_at)
            elif self._last_change.get(id_, observed_at) <= observed_at:
                self._last_change[id_] = observed_at
                if id_ not in self._digests:
                    self.new_ids.add(id_)
                self._digests[id_] = content
                self._buffered.add(id_)
                self._buffer.append(ObservedRecord(id_, record, content, observed_at, before))
        if len(self._buffer) >= BATCH_ROWS:
            yield from self.flush()

    def flush(self) -> Iterator[Batch]:
        """Yield the rows of side-loaded records that differ from their table."""
        typed = self.rows.build(self._buffer)
        changed: list[ObservedRecord] = []
        for reads in group_reads(self._buffer, typed):
            if (reject := reads.reject) is None:
                self._rejects.resolve(self.name, reads.last.id, reads.last.observed_at)
            else:
                self._rejects.add(self.name, reject)
            self._digests[reads.last.id] = reads.row_digest
            always = reads.last.id in self._always_load
            rows = [(o, before) for o, before in reads.good if always or o.row_digest != before]
            if any(before for _, before in rows):
                self._rewritten.add(self.name)
            changed += [observed for observed, _ in rows]
        self._buffer = []
        self._buffered.clear()
        self.changed += len(changed)
        if (table := typed.rows_of(changed)) is not None:
            yield self.name, table

    def mark_gone(self, ids: Sequence[str], at: datetime, **texts: str) -> Iterator[Batch]:
        """Yield the rows of side-loaded records that no longer exist, with these texts changed."""
        self._rewritten.add(self.name)
        rows = self.rows.stored.rows(ids, at, row_hash=row_hash(DELETED), **texts)
        self.changed += rows.num_rows
        for id_ in ids:
            self._digests[id_] = DELETED
            self._rejects.resolve(self.name, id_, at)
        if rows.num_rows:
            yield self.name, rows
