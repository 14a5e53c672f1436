"""Only what is new or changed is loaded: each record against what its own table holds.

Links, versions and side-loaded rows are compared with their own tables, not with the milestone's,
so that a crash between two tables repairs itself in the next run.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa

from .envelope import Page, Record
from .records import Read, Reject, Rows, digest, row_hash
from .register import DELETED, LOST, Register
from .report import Report
from .settings import BATCH_ROWS, LINKS, REJECTS, VERSIONS, Kind
from .values import arrow_type, exact

Batch = tuple[str, pa.Table]
"""Rows, and the name of the table they belong to."""

_TICK_ZERO = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


class Rejects:
    """Records that cannot be typed, told once for each content until they are good again.

    Args:
        held: Rows of ``rejected_records`` that are not resolved.
    """

    def __init__(self, held: Iterable[Mapping[str, Any]]) -> None:
        self._open: dict[tuple[str, str], dict[str, Any]] = {}
        self._buffer: list[dict[str, Any]] = []
        for row in held:
            self._open[row["table_name"], row["id"]] = dict(row)

    def good(self, table: str, id_: str, observed_at: datetime) -> None:
        """A record was read that can be typed: what was open of it is resolved."""
        if self._open and (row := self._open.pop((table, id_), None)):
            self._buffer.append(row | {"observed_at": observed_at, "resolved_at": observed_at})

    def bad(self, table: str, reject: Reject) -> None:
        """A record was read that cannot be typed."""
        read, key = reject.read, (table, reject.read.id)
        if self._open.get(key, {}).get("row_hash") == row_hash(read.digest):
            return
        self.good(table, read.id, read.observed_at)
        self._open[key] = {
            "table_name": table,
            "id": read.id,
            "row_hash": row_hash(read.digest),
            "reason": reject.reason,
            "raw": orjson.dumps(read.record, default=str).decode(),
            "observed_at": read.observed_at,
            "resolved_at": None,
        }
        self._buffer.append(self._open[key])

    def is_open(self, table: str, id_: str) -> bool:
        """Whether the last content read of a record could not be typed."""
        return (table, id_) in self._open

    def open_of(self, table: str) -> list[str]:
        """Ids of this table that are open."""
        return [id_ for name, id_ in self._open if name == table]

    def open(self) -> list[tuple[str, str, str]]:
        """Table, id and reason of all that is open."""
        return [(table, id_, row["reason"]) for (table, id_), row in self._open.items()]

    def flush(self) -> Iterator[Batch]:
        """The rows to load."""
        if self._buffer:
            yield "rejected_records", table_of(REJECTS, self._buffer)
            self._buffer = []


class SideTable:
    """Side-loaded records of one type.

    Args:
        rows: Makes their rows.
        held: What the warehouse holds: digests by key.
        rejects: Told of records that cannot be typed.
    """

    def __init__(self, rows: Rows, held: dict[str, bytes], rejects: Rejects) -> None:
        self.rows = rows
        self.changed = 0
        self._held = held
        self._rejects = rejects
        self._buffer: list[Read] = []
        self._waiting: set[str] = set()  # in the buffer, so not yet known to be good
        self._emitted: dict[str, datetime] = {}

    def take(self, records: Mapping[str, Record], observed_at: datetime) -> Iterator[Batch]:
        """Compare records; a full batch of changed ones is given at once."""
        for id_, record in records.items():
            content, before = digest(record), self._held.get(id_, b"")
            if content == before:
                if id_ not in self._waiting:
                    self._rejects.good(self.rows.table.name, id_, observed_at)
            elif self._emitted.get(id_, observed_at) <= observed_at:
                self._emitted[id_] = observed_at
                self._held[id_] = content
                self._waiting.add(id_)
                self._buffer.append(Read(id_, record, content, observed_at, before))
        if len(self._buffer) >= BATCH_ROWS:
            yield from self.flush()

    def flush(self) -> Iterator[Batch]:
        """The rows to load."""
        name = self.rows.table.name
        table, good, rejects = self.rows.build(self._buffer)
        self._buffer = []
        self._waiting.clear()
        for read in good:
            self._rejects.good(name, read.id, read.observed_at)
        for reject in rejects:
            self._rejects.bad(name, reject)
            if self._held[reject.read.id] == reject.read.digest:
                self._held[reject.read.id] = reject.read.before
        self.changed += len(good)
        if table is not None:
            yield name, table


class Milestones:
    """Milestones with their versions and links.

    Args:
        register: What is known of each.
        rows: Makes their rows.
        rejects: Told of records that cannot be typed.
        report: Counts what is added and changed.
    """

    def __init__(self, register: Register, rows: Rows, rejects: Rejects, report: Report) -> None:
        self.lacking: dict[str, set[str]] = {}
        self._register = register
        self._rows = rows
        self._rejects = rejects
        self._report = report
        self._buffer: list[Read] = []
        self._waiting: set[str] = set()  # in the buffer, so not yet known to be good

    def take(self, page: Page) -> Iterator[Batch]:
        """Compare a page; a full batch of changed milestones is given at once."""
        register = self._register
        tick = (page.observed_at - _TICK_ZERO).total_seconds() * 1_000_000
        for id_, record in page.records.items():
            place = register.place(id_)
            if not register.is_latest(place, round(tick)):
                continue
            content, before = digest(record), register.digest(place)
            if content == before and id_ in self._waiting:
                continue
            links = register.links(place)
            if (
                content == before
                and register.versioned(id_, before) == content
                and _links(record, links) == links
            ):
                self._count(place, record)
                self._rejects.good("billing_milestones", id_, page.observed_at)
                continue
            register.set_digest(place, content)
            self._waiting.add(id_)
            self._buffer.append(Read(id_, record, content, page.observed_at, before))
        if len(self._buffer) >= BATCH_ROWS:
            yield from self.flush()

    def flush(self) -> Iterator[Batch]:
        """The rows to load: milestones, their new versions, links that came and went."""
        table, good, rejects = self._rows.build(self._buffer)
        self._buffer = []
        self._waiting.clear()
        undone = {reject.read.digest: reject.read.before for reject in rejects}
        for reject in rejects:
            self._reject(reject, _before(reject.read, undone))
        versions: list[dict[str, Any]] = []
        links: list[dict[str, Any]] = []
        for read in good:
            place = self._register.place(read.id)
            before = _before(read, undone)
            self._count(place, read.record)
            self._rejects.good("billing_milestones", read.id, read.observed_at)
            self._report.added += not before
            self._report.restored += before in (DELETED, LOST)
            self._report.changed += before not in (b"", DELETED, LOST, read.digest)
            versions += self._version(read, place, before)
            links += self._relink(read, place)
        if table is not None:
            yield "billing_milestones", table
        if versions:
            yield "billing_milestone_versions", table_of(VERSIONS, versions)
        if links:
            yield "billing_milestone_invoices", table_of(LINKS, links)

    def _count(self, place: int, record: Record) -> None:
        amount = record["amount_in_cents"]
        if type(amount) is not int:
            amount = exact(Kind.BIGINT, amount)
        self._register.good(place, amount, record["currency"])

    def _reject(self, reject: Reject, before: bytes) -> None:
        read, place = reject.read, self._register.place(reject.read.id)
        for name in reject.lacks:
            self.lacking.setdefault(name, set()).add(read.id)
        if self._register.digest(place) == read.digest:  # no later read of it is good
            self._register.set_digest(place, before)
            self._register.rejected(place)
            self._rejects.bad("billing_milestones", reject)

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
        register, column = self._register, "deleted_at" if state == DELETED else "access_lost_at"
        places = {id_: register.place(id_) for id_ in ids}
        marked = [id_ for id_, place in places.items() if register.digest(place) != state]
        if state == DELETED:
            self._report.deleted += len(marked)
            versions = [
                self._next_version(id_, places[id_], at, "deleted", raws.get(id_), None)
                for id_, place in places.items()
                if register.versioned(id_, register.digest(place)) != DELETED
            ]
            if versions:
                yield "billing_milestone_versions", table_of(VERSIONS, versions)
        else:
            self._report.access_lost += len(marked)
        for table in self._rows.marked(marked, column, at, raws) if marked else ():
            yield "billing_milestones", table
        for id_ in marked:
            register.set_digest(places[id_], state)
            self._rejects.good("billing_milestones", id_, at)

    def _version(self, read: Read, place: int, before: bytes) -> list[dict[str, Any]]:
        last = self._register.versioned(read.id, before)
        if last == read.digest:
            return []
        change_type = "restored" if last == DELETED else "updated"
        raw = orjson.dumps(read.record).decode()
        return [self._next_version(read.id, place, read.observed_at, change_type, raw, read.digest)]

    def _next_version(
        self,
        id_: str,
        place: int,
        at: datetime,
        change_type: str,
        raw: str | None,
        content: bytes | None,
    ) -> dict[str, Any]:
        version = self._register.next_version(id_, place)
        return {
            "id": id_,
            "version": version,
            "observed_at": at,
            "change_type": "created" if version == 1 else change_type,
            "row_hash": row_hash(content) if content else None,
            "raw": raw,
        }

    def _relink(self, read: Read, place: int) -> list[dict[str, Any]]:
        old_text = self._register.links(place)
        new_text = _links(read.record, old_text)
        if new_text == old_text:
            return []
        self._register.set_links(place, new_text)
        old, new = (set(filter(None, text.split(","))) for text in (old_text, new_text))
        row = {"billing_milestone_id": read.id, "observed_at": read.observed_at}
        came = [row | {"invoice_id": i, "removed_at": None} for i in sorted(new - old)]
        went = [row | {"invoice_id": i, "removed_at": read.observed_at} for i in sorted(old - new)]
        return came + went


def _before(read: Read, undone: Mapping[bytes, bytes]) -> bytes:
    """What is loaded of a record before this read, reads that were rejected left out."""
    before = read.before
    while before in undone:
        before = undone[before]
    return before


def _links(record: Record, otherwise: str) -> str:
    """Ids of the record's invoices, sorted, joined by commas; those held if it does not tell."""
    ids = record.get("invoice_ids")
    if not isinstance(ids, list):
        return otherwise
    if len(ids) < 2:
        return str(ids[0]) if ids else ""
    return ",".join(sorted(set(map(str, ids))))


def table_of(columns: Mapping[str, Kind], rows: list[dict[str, Any]]) -> pa.Table:
    """Rows of our own making, which hold exactly these columns."""
    schema = pa.schema([(name, arrow_type(kind)) for name, kind in columns.items()])
    return pa.Table.from_pylist(rows, schema=schema)
