"""The tables of one run, and how what is read of the account gets into them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from itertools import islice

import orjson

from ..api.envelope import Page, Record
from ..api.reader import KantataReader
from ..report import Report
from ..request import ExtractRequest
from ..schema import (
    BILLING_MILESTONES,
    CURRENCIES,
    INVOICES,
    LOADED,
    SIDE_TABLES,
    WORKSPACES,
    Table,
    undeclared_table,
)
from ..settings import MILESTONES_PATH, PER_PAGE
from ..state import WarehouseState
from ..transform.conversion import is_id
from ..transform.diff import Batch, Milestones, SideTable
from ..transform.milestone_index import DELETED, LOST, MilestoneIndex, digest_of
from ..transform.rejects import Rejects
from ..transform.rows import RowBuilder, column_name
from .deletions import NOT_ALLOWED, IndividualLookups, fetch_one, judge_missing

_MISSING, _BACK = " is missing; its last values stay", " is there again"
_MOST_WITHIN = 20  # changes within objects that one run tells
_ASKED_SINGLY = 20
_TAKEN = frozenset(LOADED) | {
    "sync_runs",
    "warehouse_version",
    "change_requests",
    "change_events",
    "alerts",
}


@dataclass(frozen=True)
class ExtractContext:
    """What one run is given.

    Args:
        reader: The door to Kantata.
        state: What the warehouse holds.
        request: What the run should do.
        report: Where it tells what it found.
    """

    reader: KantataReader
    state: WarehouseState
    request: ExtractRequest
    report: Report


class ExtractTables:
    """The tables, and how pages get into them.

    Args:
        task: What the run is given.
        index: What is known of each milestone.
        rejects: Records that cannot be typed.
    """

    def __init__(self, task: ExtractContext, index: MilestoneIndex, rejects: Rejects) -> None:
        self._reader = task.reader
        self._state = task.state
        self._request = task.request
        self._report = task.report
        self._index = index
        self._rejects = rejects
        self._milestone_rows = self._rows(BILLING_MILESTONES)
        self._milestones = Milestones(self._index, self._milestone_rows, self._rejects, task.report)
        self._sides = {table.name: self._side(table) for table in SIDE_TABLES}
        self._side_names = {name: name for name in self._sides}  # of their tables
        self._odd: set[tuple[str, str]] = set()
        self._readable: set[str] = set()
        self._orphans: set[str] = set()

    def _rows(self, table: Table) -> RowBuilder:
        columns = self._state.columns.get(table.name, {})
        rows = RowBuilder(table, columns, self._state.last_values)
        prefix = table.name + "."
        for change in self._request.told:
            if change.startswith(prefix) and change.endswith(_MISSING):
                rows.watched.add(change[len(prefix) : -len(_MISSING)])
            elif change.startswith(prefix) and change.endswith(_BACK):
                rows.watched.discard(change[len(prefix) : -len(_BACK)])
        return rows

    def _side(self, table: Table) -> SideTable:
        held = {
            key: digest_of(text)
            for batch in self._state.row_hashes(table.name, table.key)
            for key, text in zip(*(column.to_pylist() for column in batch.columns), strict=True)
        }
        return SideTable(self._rows(table), held, self._rejects)

    def _take(self, page: Page) -> Iterator[Batch]:
        yield from self._milestones.take(page)
        for name, records in page.side_loaded.items():
            yield from self._side_of(name).take(records, page.observed_at)
        self._odd |= set(page.odd)
        projects = page.side_loaded.get(WORKSPACES.name, {})
        self._readable |= projects.keys()
        for record in page.records.values():
            project = record.get("workspace_id")
            if is_id(project) and str(project) not in projects:
                self._orphans.add(str(project))

    def _side_of(self, name: str) -> SideTable:
        """The table of a side-loaded type, a new one if nobody knew it."""
        if name not in self._side_names:
            table = undeclared_table(column_name(name, _TAKEN))
            if table.name not in self._state.columns:
                self._report.schema_changes.append(f"{table.name} is a new table")
            self._side_names[name] = table.name
            self._sides[table.name] = self._side(table)
        return self._sides[self._side_names[name]]

    def _settle(
        self,
        ids: list[str],
        canaries: list[str],
        singly: IndividualLookups = IndividualLookups.SOME,
    ) -> Iterator[Batch]:
        """Mark milestones that are gone; load those that are not."""
        if not ids:
            return
        held = self._state.last_values(MILESTONES_PATH, "id", ids, ["workspace_id"])
        found = dict(zip(*(column.to_pylist() for column in held.columns), strict=True))
        raws = self._state.raw_records(ids)
        projects = {
            id_: str(found.get(id_) or orjson.loads(raws.get(id_, "{}")).get("workspace_id"))
            for id_ in ids
        }
        verdict = judge_missing(self._reader, projects, self._readable, canaries, singly)
        for page in verdict.pages:
            yield from self._take(page)
        yield from self._milestones.flush()
        given_up = {i for i in verdict.lost if projects[i] in self._request.deleted_projects}
        deleted = [*verdict.deleted, *(i for i in verdict.lost if i in given_up)]
        lost = [i for i in verdict.lost if i not in given_up]
        at = self._reader.now()
        yield from self._milestones.gone(deleted, DELETED, at, raws)
        yield from self._milestones.gone(lost, LOST, at, raws)
        self._report.warnings += verdict.doubts

    def _projects(self) -> Iterator[Batch]:
        """Ask by id for projects that milestones name and no page showed."""
        side = self._sides[WORKSPACES.name]
        found: set[str] = set()
        try:
            orphans = sorted(self._orphans)
            for page in self._reader.only(WORKSPACES.name, orphans, include_archived="true"):
                found |= page.records.keys()
                yield from side.take(page.records, page.observed_at)
        except NOT_ALLOWED as error:
            self._report.warnings.append(str(error))
            side.unshown.clear()
        if lost := sorted(self._orphans - found):
            self._report.warnings.append(
                f"{_count_of(len(lost), 'project')} of milestones cannot be read: "
                f"{first_few(lost)}. Does the token's user still see them?"
            )

    def _invoices_left(self) -> Iterator[Batch]:
        """Ask for invoices that milestones left: no page shows what became of them."""
        left = sorted(self._milestones.left | set(self._state.unlinked_invoices()))
        side, missing = self._sides[INVOICES.name], set(left)
        try:
            for page in self._reader.only(INVOICES.name, left):
                missing -= page.records.keys()
                yield from side.take(page.records, page.observed_at, anew=True)
            gone = [id_ for id_ in sorted(missing)[:_ASKED_SINGLY] if self._is_gone(id_)]
        except NOT_ALLOWED as error:
            self._report.warnings.append(f"invoices that milestones left keep their state: {error}")
            return
        if gone:
            yield from side.gone(gone, self._reader.now(), status="deleted")

    def _is_gone(self, invoice: str) -> bool:
        """Whether an invoice is 404, and on no milestone that may only be out of reach."""
        for id_ in self._state.milestones_on_invoices([invoice]):
            index = self._index
            if not index.knows(id_) or invoice in index.links(index.position(id_)).split(","):
                return False
        return fetch_one(self._reader, INVOICES.name, invoice) is None

    def _currencies(self) -> Iterator[Batch]:
        side = self._sides[CURRENCIES.name] = self._side(CURRENCIES)
        number, pages = 1, 1
        while number <= pages:
            try:
                query = {"per_page": PER_PAGE, "page": number}
                page = self._reader.page(CURRENCIES.name, query)
            except NOT_ALLOWED as error:
                self._report.warnings.append(f"no currencies, so no amounts in units: {error}")
                side.unshown.clear()
                return
            records = {str(r.get("iso_code", key)): _currency(r) for key, r in page.records.items()}
            yield from side.take(records, page.observed_at)
            number, pages = number + 1, page.pages

    def _end(self, read: int) -> Iterator[Batch]:
        for side in self._sides.values():
            yield from side.flush()
        yield from self._milestones.untold(self._reader.now())
        yield from self._rejects.flush()
        report, index = self._report, self._index
        report.read = read
        report.totals = index.totals()
        report.unproven = index.unproven()
        report.rejected = self._rejects.open()
        report.side_rows = {s.rows.table.name: s.changed for s in self._sides.values() if s.changed}
        report.requests = self._reader.requests
        report.server_time = self._reader.server_time
        report.warnings += [
            f"side-loaded {name} is not all loaded: {why}" for name, why in sorted(self._odd)
        ]
        for rows in (self._milestone_rows, *(side.rows for side in self._sides.values())):
            report.schema_changes += self._drift(rows)

    def _drift(self, rows: RowBuilder) -> Iterator[str]:
        """How records of a table differ from those before, in words; each is told once."""
        name, told = rows.table.name, self._request.told
        if self._request.proven:
            yield from (f"{name}.{column} is new ({k})" for column, k in rows.new_columns.items())
            within = (f"{name}.{change}" for change in dict.fromkeys(rows.nested))
            yield from islice((change for change in within if change not in told), _MOST_WITHIN)
        for column in sorted(rows.absent - rows.watched):
            yield f"{name}.{column}{_MISSING}"
        if self._report.mode == "scan" and rows.lacked is not None:
            yield from (f"{name}.{column}{_BACK}" for column in sorted(rows.watched - rows.lacked))


def _currency(record: Record) -> Record:
    """The record with the exact value of one subunit; one that has none is rejected later."""
    subunits = record.get("subunit_to_unit")
    unit: object = subunits
    if type(subunits) is int and subunits > 0:
        quotient = (Decimal(1) / subunits).quantize(Decimal("0.000001"))
        unit = quotient if quotient * subunits == 1 else f"1/{subunits}"
    return record | {"unit_per_subunit": unit}


def _count_of(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def first_few(ids: list[str], most: int = 5) -> str:
    """The first of these ids, and how many more there are."""
    return ", ".join(ids[:most]) + (f" and {len(ids) - most} more" if len(ids) > most else "")
