"""One read of the account, from the first page to the last orphan, as batches to load."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from decimal import Decimal

from .client import KantataReader
from .compare import Batch, Milestones, Rejects, SideTable
from .envelope import Page, Record
from .errors import KantataFieldLost, KantataForbidden, KantataMisaddressed, KantataRefused
from .known import Known
from .records import Rows
from .register import Register, digest_of
from .report import Report
from .scan import PATH, Progress, Scan
from .settings import (
    BILLING_MILESTONES,
    CURRENCIES,
    MILESTONE_INCLUDES,
    PER_PAGE,
    SIDE_TABLES,
    WORKSPACES,
    Table,
)

_NOT_ALLOWED = (KantataForbidden, KantataRefused, KantataMisaddressed)


def read_account(
    reader: KantataReader,
    known: Known,
    report: Report,
    in_flight: int,
    progress: Progress | None,
) -> Iterator[Batch]:
    """Read everything; the report is complete when the iterator ends.

    Raises:
        KantataError: Named by what to do next.
    """
    collecting = gc.isenabled()
    gc.disable()  # millions of records without a cycle: looking for some takes a third of the time
    try:
        yield from _Account(reader, known, report).read(Scan(reader, in_flight, progress))
    finally:
        reader.pace.stop()  # workers that still wait for a retry need not
        if collecting:
            gc.enable()


class _Account:
    def __init__(self, reader: KantataReader, known: Known, report: Report) -> None:
        self._reader = reader
        self._known = known
        self._report = report
        self._register = Register(known.milestones)
        self._rejects = Rejects(known.rejects)
        self._milestone_rows = self._rows(BILLING_MILESTONES)
        self._milestones = Milestones(self._register, self._milestone_rows, self._rejects, report)
        self._sides = {table.name: self._side(table) for table in SIDE_TABLES}
        self._orphans: set[str] = set()

    def _rows(self, table: Table) -> Rows:
        columns = self._known.columns.get(table.name, {})
        return Rows(table, columns, self._known.last_values)

    def _side(self, table: Table) -> SideTable:
        held = {
            key: digest_of(text)
            for batch in self._known.side_tables.get(table.name, ())
            for key, text in zip(*(column.to_pylist() for column in batch.columns), strict=True)
        }
        return SideTable(self._rows(table), held, self._rejects)

    def read(self, scan: Scan) -> Iterator[Batch]:
        for page in scan.pages():
            yield from self._take(page)
        yield from self._milestones.flush()
        self._check_fields(scan)
        yield from self._unread(scan)
        yield from self._projects()
        yield from self._currencies()
        for side in self._sides.values():
            yield from side.flush()
        yield from self._rejects.flush()
        self._conclude(scan)

    def _take(self, page: Page) -> Iterator[Batch]:
        yield from self._milestones.take(page)
        for name, side in self._sides.items():
            yield from side.take(page.side_loaded.get(name, {}), page.observed_at)
        projects = page.side_loaded.get(WORKSPACES.name, {})
        for record in page.records.values():
            if (project := record.get("workspace_id")) is not None and project not in projects:
                self._orphans.add(str(project))

    def _check_fields(self, scan: Scan) -> None:
        """Stop if a field that figures rest on is missing everywhere."""
        read = len(scan.seen)
        lost = [name for name, ids in self._milestones.lacking.items() if len(ids) >= read > 0]
        if lost:
            raise KantataFieldLost(
                f"{' and '.join(sorted(lost))} is missing from all {read} milestones: did the "
                "token's user lose a permission? Nothing was loaded."
            )

    def _unread(self, scan: Scan) -> Iterator[Batch]:
        """Ask by id for milestones the warehouse holds and the list did not show."""
        unread = list(self._register.unread())
        if len(unread) > max(20, self._register.known // 10):
            return  # so many do not slip through a complete scan: they are gone, or hidden
        for page in self._reader.only(PATH, unread, include=MILESTONE_INCLUDES):
            yield from self._take(page)
        yield from self._milestones.flush()

    def _projects(self) -> Iterator[Batch]:
        """Ask by id for projects that milestones name and no page showed."""
        side = self._sides[WORKSPACES.name]
        found: set[str] = set()
        try:
            orphans = sorted(self._orphans)
            for page in self._reader.only(WORKSPACES.name, orphans, include_archived="true"):
                found |= page.records.keys()
                yield from side.take(page.records, page.observed_at)
        except _NOT_ALLOWED as error:
            self._report.warnings.append(str(error))
        if lost := sorted(self._orphans - found):
            self._report.warnings.append(
                f"{_counted(len(lost), 'project')} of milestones cannot be read: "
                f"{_some(lost)}. Does the token's user still see them?"
            )

    def _currencies(self) -> Iterator[Batch]:
        side = self._sides[CURRENCIES.name] = self._side(CURRENCIES)
        number, pages = 1, 1
        while number <= pages:
            try:
                query = {"per_page": PER_PAGE, "page": number}
                page = self._reader.page(CURRENCIES.name, query)
            except _NOT_ALLOWED as error:
                self._report.warnings.append(f"no currencies, so no amounts in units: {error}")
                return
            records = {str(r.get("iso_code", key)): _currency(r) for key, r in page.records.items()}
            yield from side.take(records, page.observed_at)
            number, pages = number + 1, page.pages

    def _conclude(self, scan: Scan) -> None:
        report, register = self._report, self._register
        report.read = len(scan.seen)
        report.totals = register.totals()
        report.unproven = register.unproven()
        report.missing = list(register.unread())
        report.rejected = self._rejects.open()
        report.side_rows = {name: s.changed for name, s in self._sides.items() if s.changed}
        report.requests = self._reader.requests
        report.server_time = self._reader.server_time
        for rows in (self._milestone_rows, *(side.rows for side in self._sides.values())):
            name = rows.table.name
            for column, kind in rows.new_columns.items() if register.known else ():
                report.schema_changes.append(f"{name}.{column} is new ({kind})")
            for column in sorted(rows.absent):
                report.schema_changes.append(f"{name}.{column} is missing; its last values stay")


def _currency(record: Record) -> Record:
    """The record with the exact value of one subunit; one that has none is rejected later."""
    subunits = record.get("subunit_to_unit")
    unit: object = subunits
    if type(subunits) is int and subunits > 0:
        quotient = (Decimal(1) / subunits).quantize(Decimal("0.000001"))
        unit = quotient if quotient * subunits == 1 else f"1/{subunits}"
    return record | {"unit_per_subunit": unit}


def _counted(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _some(ids: list[str], most: int = 5) -> str:
    return ", ".join(ids[:most]) + (f" and {len(ids) - most} more" if len(ids) > most else "")
