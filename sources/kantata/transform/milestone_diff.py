"""Compares milestones with what the warehouse holds, so that only new and changed rows are loaded.

Rows, versions and links are each compared with their own table, so that a crash between two tables
repairs itself in the next run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime

import orjson
import pyarrow as pa

from ..api.envelope import Page, Record
from ..report import Report
from ..schema import LINKS, MILESTONE_TABLES, VALUES, Kind
from ..settings import BATCH_ROWS, MILESTONES_PATH
from .batch_reads import BatchReads, group_reads
from .conversion import convert, table_of
from .fingerprint import content_of
from .links import link_changes, linked_invoices
from .milestone_index import ACCESS_LOST, DELETED, MilestoneIndex
from .records import ObservedRecord
from .rejects import Rejects
from .rows import Batch, RowBuilder
from .versions import Version, VersionBuilder, with_values, with_values_of

_EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


@dataclass
class _Changes:
    """What a comparison of one batch of milestones found to load.

    Args:
        rows: Records whose rows changed.
        versioned: Records that are a new version.
        versions: Those versions, in the same order, without values.
        links: Rows of links.
    """

    rows: list[ObservedRecord] = field(default_factory=list)
    versioned: list[ObservedRecord] = field(default_factory=list)
    versions: list[Version] = field(default_factory=list)
    links: list[dict[str, object]] = field(default_factory=list)


class MilestoneDiff:
    """Compares milestones, their versions and their links with what the warehouse holds.

    Args:
        index: What is known of each milestone.
        rows: Makes the rows of milestones.
        rejects: Keeps records that cannot be typed.
        report: Counts what was added and changed.
    """

    def __init__(
        self, index: MilestoneIndex, rows: RowBuilder, rejects: Rejects, report: Report
    ) -> None:
        self.absent_fields: dict[str, set[str]] = {}  # by required field, the milestones without it
        self.unlinked_invoices: set[str] = set()
        self._index = index
        self._rows = rows
        self._rejects = rejects
        self._report = report
        self._versions = VersionBuilder(index)
        self._buffer: list[ObservedRecord] = []
        self._buffered: set[str] = set()  # not typed yet

    def compare(self, page: Page) -> Iterator[Batch]:
        """Compare a page of milestones with the index; yield batches when enough have changed."""
        self._rows.watch(page.records.values())
        microsecond = round((page.observed_at - _EPOCH).total_seconds() * 1_000_000)
        for id_, record in page.records.items():
            position = self._index.position(id_)
            if self._index.note_read(position, microsecond):
                self._compare(id_, record, position, page.observed_at)
        if len(self._buffer) >= BATCH_ROWS:
            yield from self.flush()

    def _compare(self, id_: str, record: Record, position: int, at: datetime) -> None:
        """Compare one milestone with the index, and keep it for the next batch if it differs."""
        index = self._index
        record, content = content_of(record)
        before = index.digest(position)
        if self._rows.is_same(record, content, before):
            if id_ in self._buffered:
                return
            links = index.links(position)
            has_version = index.version_digest(id_, before) == before
            if has_version and linked_invoices(record, links) == links:
                self._count(position, record)
                self._rejects.resolve(MILESTONES_PATH, id_, at)
                return
        index.set_digest(position, content)
        self._buffered.add(id_)
        self._buffer.append(ObservedRecord(id_, record, content, at, before))

    def flush(self) -> Iterator[Batch]:
        """Yield the changed rows of milestones, their new versions, and their changed links."""
        typed = self._rows.build(self._buffer)
        changes = _Changes()
        for reads in group_reads(self._buffer, typed):
            for observed, before in reads.good:
                self._collect(observed, before, changes)
            self._settle(reads)
        self._buffer = []
        self._buffered.clear()
        if (rows := typed.rows_of(changes.rows)) is not None:
            yield MILESTONES_PATH, rows
        if (rows := typed.rows_of(changes.versioned)) is not None:
            values = rows.select(list(VALUES))
            yield "billing_milestone_versions", with_values(changes.versions, values)
        if changes.links:
            yield "billing_milestone_invoices", table_of(LINKS, changes.links)

    def _collect(self, observed: ObservedRecord, before: bytes, changes: _Changes) -> None:
        """Collect what changed by one read of a milestone: its row, its version, its links."""
        if before:
            self._report.rewritten.update(MILESTONE_TABLES)
        self._count_change(before, observed.row_digest)
        if observed.row_digest != before:
            changes.rows.append(observed)
        if self._index.version_digest(observed.id, before) != observed.row_digest:
            changes.versioned.append(observed)
            changes.versions.append(self._versions.of_record(observed, before))
        position = self._index.position(observed.id)
        if (changed := link_changes(observed, self._index.links(position))) is not None:
            self._index.set_links(position, changed.links)
            self.unlinked_invoices |= changed.removed
            changes.links += changed.rows

    def _settle(self, reads: BatchReads) -> None:
        """Record a milestone's final state in this batch: its last good read, or its reject."""
        position = self._index.position(reads.last.id)
        self._index.set_digest(position, reads.row_digest)
        if (reject := reads.reject) is None:
            self._count(position, reads.last.record)
            self._rejects.resolve(MILESTONES_PATH, reads.last.id, reads.last.observed_at)
            return
        self._index.count_rejected(position)
        self._rejects.add(MILESTONES_PATH, reject)
        for name in reject.absent_fields:
            self.absent_fields.setdefault(name, set()).add(reads.last.id)

    def _count_change(self, before: bytes, row: bytes) -> None:
        """Count in the report whether a milestone was added, restored or changed."""
        self._report.added += not before
        self._report.restored += before in (DELETED, ACCESS_LOST)
        self._report.changed += before not in (b"", DELETED, ACCESS_LOST, row)

    def _count(self, position: int, record: Record) -> None:
        """Count a milestone that was read and accepted, with its amount and currency."""
        amount = record["amount_in_cents"]
        if type(amount) is not int:
            amount = convert(Kind.BIGINT, amount)
        self._index.count_good(position, amount, record["currency"])

    def mark_deleted(
        self, ids: Sequence[str], at: datetime, raw_records: Mapping[str, str]
    ) -> Iterator[Batch]:
        """Yield the rows that mark milestones as deleted, with a version of each; last values stay.

        Args:
            ids: Milestones the warehouse holds.
            at: When they were found to be deleted.
            raw_records: The last record received of each, by id.
        """
        marked = self._without_mark(ids, DELETED)
        self._report.deleted += len(marked)
        raw_records = self._complete_raw_records(ids, raw_records)
        versions = self._versions.of_deletions(ids, at, raw_records)
        yield from self._gone_rows(marked, versions, "deleted_at", at, raw_records)
        self._note_gone(ids, marked, DELETED, at)

    def mark_access_lost(
        self, ids: Sequence[str], at: datetime, raw_records: Mapping[str, str]
    ) -> Iterator[Batch]:
        """Yield the rows that mark milestones as access lost; last values stay.

        Args:
            ids: Milestones the warehouse holds.
            at: When access was found to be lost.
            raw_records: The last record received of each, by id.
        """
        marked = self._without_mark(ids, ACCESS_LOST)
        self._report.access_lost += len(marked)
        raw_records = self._complete_raw_records(ids, raw_records)
        missing = self._index.missing_versions()
        lost = {id_: missing[id_] for id_ in ids if id_ in missing}
        versions = self._versions.of_rows(lost, at, raw_records)
        yield from self._gone_rows(marked, versions, "access_lost_at", at, raw_records)
        self._note_gone(ids, marked, ACCESS_LOST, at)

    def _without_mark(self, ids: Sequence[str], mark: bytes) -> set[str]:
        """Return the milestones that do not have this mark, deleted or access lost, yet."""
        index = self._index
        return {id_ for id_ in ids if index.digest(index.position(id_)) != mark}

    def _complete_raw_records(
        self, ids: Sequence[str], raw_records: Mapping[str, str]
    ) -> dict[str, str]:
        """Return milestones' last records received, made of rows if a crash lost the version."""
        missing = self._index.missing_versions()
        of_rows = [id_ for id_ in ids if id_ in missing or id_ not in raw_records]
        return dict(raw_records) | self._raw_records_of_rows(of_rows)

    def _raw_records_of_rows(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the stored rows of milestones as records in JSON text, by id."""
        records = self._rows.stored.records(ids)
        return {id_: orjson.dumps(record).decode() for id_, record in records.items()}

    def _gone_rows(
        self,
        marked: Set[str],
        versions: list[Version],
        column: str,
        at: datetime,
        raw_records: Mapping[str, str],
    ) -> Iterator[Batch]:
        """Yield versions, then rows, of milestones that are deleted or access lost."""
        self._report.rewritten.update(MILESTONE_TABLES)
        ids = sorted(marked | {version["id"] for version in versions})
        rows = self._rows.last_rows(ids, at, raw_records) if ids else []
        if versions:
            yield "billing_milestone_versions", with_values_of(versions, rows)
        for table in rows:
            if (marked_rows := _with_time(table, marked, column, at)).num_rows:
                yield MILESTONES_PATH, marked_rows

    def _note_gone(self, ids: Sequence[str], marked: Set[str], mark: bytes, at: datetime) -> None:
        """Note in the index that milestones are gone, and resolve their rejects."""
        for id_ in marked:
            self._index.set_digest(self._index.position(id_), mark)
        for id_ in ids:
            self._rejects.resolve(MILESTONES_PATH, id_, at)

    def missing_versions(self, at: datetime) -> Iterator[Batch]:
        """Yield versions that a crash lost, of milestones that this run did not read or rejected.

        Args:
            at: When the account was read.
        """
        missing = self._index.missing_versions()
        raw_records = self._raw_records_of_rows(list(missing))
        if versions := self._versions.of_rows(missing, at, raw_records):
            rows = self._rows.last_rows(list(missing), at, {})
            yield "billing_milestone_versions", with_values_of(versions, rows)


def _with_time(rows: pa.Table, ids: Set[str], column: str, at: datetime) -> pa.Table:
    """Return the rows of these milestones, with the time when they were found to be gone."""
    rows = rows.filter(pa.array([id_ in ids for id_ in rows.column("id").to_pylist()], pa.bool_()))
    times = pa.array([at] * rows.num_rows, rows.schema.field(column).type)
    return rows.set_column(rows.schema.get_field_index(column), column, times)
