"""Only what is new or changed is loaded: each record against what its own table holds.

Links, versions and side-loaded rows are compared with their own tables, not with the milestone's,
so that a crash between two tables repairs itself in the next run.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa

from ..api.envelope import Page, Record
from ..report import Report
from ..schema import LINKS, VALUES, Kind
from ..settings import BATCH_ROWS
from .batch_reads import BatchReads, group_reads, rows_of
from .conversion import convert, table_of
from .fingerprint import OF_A_ROW, digest, row_hash
from .milestone_index import DELETED, LOST, MilestoneIndex
from .rejects import Rejects, storable
from .rows import ObservedRecord, RowBuilder
from .versions import with_values, with_values_of

Batch = tuple[str, pa.Table]
"""Rows, and the name of the table they belong to."""

_TICK_ZERO = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class SideTable:
    """Side-loaded records of one type.

    Args:
        rows: Makes their rows.
        held: What the warehouse holds: digests by key.
        rejects: Told of records that cannot be typed.
    """

    def __init__(self, rows: RowBuilder, held: dict[str, bytes], rejects: Rejects) -> None:
        self.rows = rows
        self.changed = 0
        self._held = held
        self._rejects = rejects
        self._buffer: list[ObservedRecord] = []
        self._waiting: set[str] = set()  # in the buffer, so not yet known to be good
        self._emitted: dict[str, datetime] = {}
        self._anew: set[str] = set()
        self.unshown = rejects.open_of(rows.table.name)  # rejects no page showed again so far

    def take(
        self, records: Mapping[str, Record], observed_at: datetime, anew: bool = False
    ) -> Iterator[Batch]:
        """Compare records; a full batch of changed ones is given at once.

        Args:
            records: By id.
            observed_at: When they were read.
            anew: Whether the time at which they were read is worth a row.
        """
        self.rows.watch(records.values())
        self._anew |= records.keys() if anew else set()
        if self.unshown:
            self.unshown.difference_update(map(storable, records))
        for id_, record in records.items():
            content, before = digest(record), self._held.get(id_, b"")
            if self.rows.is_same(record, content, before) and id_ not in self._anew:
                if id_ not in self._waiting:
                    self._rejects.good(self.rows.table.name, id_, observed_at)
            elif self._emitted.get(id_, observed_at) <= observed_at:
                self._emitted[id_] = observed_at
                self._held[id_] = content
                self._waiting.add(id_)
                self._buffer.append(ObservedRecord(id_, record, content, observed_at, before))
        if len(self._buffer) >= BATCH_ROWS:
            yield from self.flush()

    def flush(self) -> Iterator[Batch]:
        """The rows to load."""
        name = self.rows.table.name
        table, good, rejects = self.rows.build(self._buffer)
        changed = []
        for story in group_reads(self._buffer, good, rejects):
            if (reject := story.reject) is None:
                self._rejects.good(name, story.last.id, story.last.observed_at)
            else:
                self._rejects.bad(name, reject)
            self._held[story.last.id] = story.row
            anew = story.last.id in self._anew
            changed += [read for read, before in story.good if anew or read.row != before]
        self._buffer = []
        self._waiting.clear()
        self.changed += len(changed)
        if changed and table is not None:
            yield name, rows_of(table, good, changed)

    def gone(self, ids: Sequence[str], at: datetime, **texts: str) -> Iterator[Batch]:
        """Rows for records that are there no more: with these texts, and otherwise as they were."""
        held = self.rows.held(ids, at, row_hash=row_hash(DELETED), **texts)
        self.changed += held.num_rows
        for id_ in ids:
            self._held[id_] = DELETED
            self._rejects.good(self.rows.table.name, id_, at)
        if held.num_rows:
            yield self.rows.table.name, held


class Milestones:
    """Milestones with their versions and links.

    Args:
        index: What is known of each.
        rows: Makes their rows.
        rejects: Told of records that cannot be typed.
        report: Counts what is added and changed.
    """

    def __init__(
        self, index: MilestoneIndex, rows: RowBuilder, rejects: Rejects, report: Report
    ) -> None:
        self.lacking: dict[str, set[str]] = {}
        self.left: set[str] = set()  # invoices that milestones are on no more
        self._index = index
        self._rows = rows
        self._rejects = rejects
        self._report = report
        self._buffer: list[ObservedRecord] = []
        self._waiting: set[str] = set()  # in the buffer, so not yet known to be good

    def take(self, page: Page) -> Iterator[Batch]:
        """Compare a page; a full batch of changed milestones is given at once."""
        index = self._index
        self._rows.watch(page.records.values())
        tick = (page.observed_at - _TICK_ZERO).total_seconds() * 1_000_000
        for id_, record in page.records.items():
            position = index.position(id_)
            if not index.is_latest(position, round(tick)):
                continue
            content, before = digest(record), index.digest(position)
            same = self._rows.is_same(record, content, before)
            if same and id_ in self._waiting:
                continue
            links = index.links(position)
            if same and index.versioned(id_, before) == before and _links(record, links) == links:
                self._count(position, record)
                self._rejects.good("billing_milestones", id_, page.observed_at)
                continue
            index.set_digest(position, content)
            self._waiting.add(id_)
            self._buffer.append(ObservedRecord(id_, record, content, page.observed_at, before))
        if len(self._buffer) >= BATCH_ROWS:
            yield from self.flush()

    def flush(self) -> Iterator[Batch]:
        """The rows to load: milestones, their new versions, links that came and went."""
        table, good, rejects = self._rows.build(self._buffer)
        changed: list[ObservedRecord] = []
        told: list[ObservedRecord] = []
        versions: list[dict[str, Any]] = []
        links: list[dict[str, Any]] = []
        for story in group_reads(self._buffer, good, rejects):
            position = self._index.position(story.last.id)
            for read, before in story.good:
                self._counted(before, read.row)
                changed += [read] if read.row != before else []
                if self._index.versioned(read.id, before) != read.row:
                    told.append(read)
                    versions.append(self._version(read, position, before))
                links += self._relink(read, position)
            self._settle(story, position)
        self._buffer = []
        self._waiting.clear()
        if changed and table is not None:
            yield "billing_milestones", rows_of(table, good, changed)
        if versions and table is not None:
            values = rows_of(table, good, told).select(list(VALUES))
            yield "billing_milestone_versions", with_values(versions, values)
        if links:
            yield "billing_milestone_invoices", table_of(LINKS, links)

    def _settle(self, story: BatchReads, position: int) -> None:
        """Note how a milestone ends up: as its last read, or as the one before that was good."""
        self._index.set_digest(position, story.row)
        if (reject := story.reject) is None:
            self._count(position, story.last.record)
            self._rejects.good("billing_milestones", story.last.id, story.last.observed_at)
            return
        self._index.rejected(position)
        self._rejects.bad("billing_milestones", reject)
        for name in reject.lacks:
            self.lacking.setdefault(name, set()).add(story.last.id)

    def _counted(self, before: bytes, row: bytes) -> None:
        self._report.added += not before
        self._report.restored += before in (DELETED, LOST)
        self._report.changed += before not in (b"", DELETED, LOST, row)

    def _count(self, position: int, record: Record) -> None:
        amount = record["amount_in_cents"]
        if type(amount) is not int:
            amount = convert(Kind.BIGINT, amount)
        self._index.good(position, amount, record["currency"])

    def gone(
        self, ids: Sequence[str], state: bytes, at: datetime, raws: Mapping[str, str]
    ) -> Iterator[Batch]:
        """The rows that mark milestones as gone; their last values stay.

        Args:
            ids: Milestones the warehouse holds.
            state: ``DELETED`` or ``LOST``.
            at: When it was seen.
            raws: The last record received of each, by id.
        """
        index, column = self._index, "deleted_at" if state == DELETED else "access_lost_at"
        positions = {id_: index.position(id_) for id_ in ids}
        marked = {id_ for id_, position in positions.items() if index.digest(position) != state}
        untold = {i: row for i, row in index.untold().items() if i in positions}
        raws = dict(raws) | self._raws([i for i in ids if i in untold or i not in raws])
        if state == DELETED:
            self._report.deleted += len(marked)
            versions = [
                self._next_version(id_, position, at, "deleted", raws.get(id_), None)
                for id_, position in positions.items()
                if index.versioned(id_, index.digest(position)) != DELETED
            ]
        else:
            self._report.access_lost += len(marked)
            versions = self._of_rows(untold, raws, at)
        wanted = marked | {version["id"] for version in versions}
        rows = self._rows.last(sorted(wanted), at, raws) if wanted else []
        if versions:
            yield "billing_milestone_versions", with_values_of(versions, rows)
        for table in rows:
            if (gone := _marked(table, marked, column, at)).num_rows:
                yield "billing_milestones", gone
        for id_ in marked:
            index.set_digest(positions[id_], state)
        for id_ in ids:
            self._rejects.good("billing_milestones", id_, at)

    def untold(self, at: datetime) -> Iterator[Batch]:
        """The versions a crash kept back of rows that no read told: rejected, or not shown.

        Args:
            at: When the account was read.
        """
        untold = self._index.untold()
        if versions := self._of_rows(untold, self._raws(list(untold)), at):
            rows = self._rows.last(list(untold), at, {})
            yield "billing_milestone_versions", with_values_of(versions, rows)

    def _of_rows(
        self, rows: Mapping[str, bytes], raws: Mapping[str, str], at: datetime
    ) -> list[dict[str, Any]]:
        """Versions made of rows; the record as received will be one too, when it is read again."""
        index = self._index
        return [
            self._next_version(id_, index.position(id_), at, "updated", raws.get(id_), content)
            | {"row_hash": OF_A_ROW + row_hash(content)}
            for id_, content in rows.items()
        ]

    def _raws(self, ids: Sequence[str]) -> dict[str, str]:
        """Rows as records, by id: all there is of those whose version was lost."""
        return {i: orjson.dumps(record).decode() for i, record in self._rows.records(ids).items()}

    def _version(self, read: ObservedRecord, position: int, before: bytes) -> dict[str, Any]:
        was_deleted = self._index.versioned(read.id, before) == DELETED
        change_type = "restored" if was_deleted else "updated"
        raw = orjson.dumps(read.record).decode()
        return self._next_version(read.id, position, read.observed_at, change_type, raw, read.row)

    def _next_version(
        self,
        id_: str,
        position: int,
        at: datetime,
        change_type: str,
        raw: str | None,
        content: bytes | None,
    ) -> dict[str, Any]:
        version = self._index.next_version(id_, position)
        return {
            "id": id_,
            "version": version,
            "observed_at": at,
            # A milestone may be deleted before a crash let any version of it be loaded.
            "change_type": "created" if version == 1 and content else change_type,
            "row_hash": row_hash(content) if content else None,
            "raw": raw,
        }

    def _relink(self, read: ObservedRecord, position: int) -> list[dict[str, Any]]:
        old_text = self._index.links(position)
        new_text = _links(read.record, old_text)
        if new_text == old_text:
            return []
        self._index.set_links(position, new_text)
        old, new = (set(filter(None, text.split(","))) for text in (old_text, new_text))
        self.left |= old - new
        row = {"billing_milestone_id": read.id, "observed_at": read.observed_at}
        came = [row | {"invoice_id": i, "removed_at": None} for i in sorted(new - old)]
        went = [row | {"invoice_id": i, "removed_at": read.observed_at} for i in sorted(old - new)]
        return came + went


def _marked(rows: pa.Table, ids: Set[str], column: str, at: datetime) -> pa.Table:
    """Those rows that are of these ids, with a time in one of ``GONE_COLUMNS``."""
    rows = rows.filter(pa.array([id_ in ids for id_ in rows.column("id").to_pylist()], pa.bool_()))
    times = pa.array([at] * rows.num_rows, rows.schema.field(column).type)
    return rows.set_column(rows.schema.get_field_index(column), column, times)


def _links(record: Record, otherwise: str) -> str:
    """Ids of the record's invoices, sorted, joined by commas; those held if it does not tell.

    Absent does not tell; null tells that there are none.
    """
    ids = record.get("invoice_ids", otherwise)
    if not isinstance(ids, list):
        return "" if ids is None else otherwise  # another type is rejected, or was long ago
    if len(ids) < 2:
        return str(ids[0]) if ids else ""
    return ",".join(sorted(set(map(str, ids))))
