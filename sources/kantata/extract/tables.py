"""The raw tables of one run, and how pages of milestones get into them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from ..api.envelope import Page, Record
from ..schema import (
    BILLING_MILESTONES,
    LOADED,
    PROJECT_DETAILS,
    SIDE_TABLES,
    WORKSPACES,
    Table,
    undeclared_table,
)
from ..transform.conversion import is_id
from ..transform.milestone_diff import MilestoneDiff
from ..transform.milestone_index import MilestoneIndex, digest_of
from ..transform.rejects import Rejects
from ..transform.rows import Batch, RowBuilder
from ..transform.side_diff import SideTableDiff
from ..transform.undeclared import column_name
from .context import ExtractContext

_RESERVED_TABLES = frozenset(LOADED) | {
    "sync_runs",
    "warehouse_version",
    "change_requests",
    "change_events",
    "alerts",
}


class ExtractTables:
    """Compares pages with the raw tables, and reports what differs.

    Args:
        context: The context of the run.
        index: What is known of each milestone.
        rejects: Records that cannot be typed.
    """

    def __init__(self, context: ExtractContext, index: MilestoneIndex, rejects: Rejects) -> None:
        self.index = index
        self.rejects = rejects
        self._context = context
        self._milestone_rows = self._row_builder(BILLING_MILESTONES)
        self.milestones = MilestoneDiff(index, self._milestone_rows, rejects, context.report)
        self.sides: dict[str, SideTableDiff] = {}
        self._side_names: dict[str, str] = {}  # of the tables, by side-loaded type
        for table in SIDE_TABLES:
            self.add_side_table(table)
            self._side_names[table.name] = table.name
        self.add_side_table(PROJECT_DETAILS)
        self._odd_maps: set[tuple[str, str]] = set()
        self.readable_projects: set[str] = set()
        self.projects_without_record: set[str] = set()  # named by milestones, shown by no page

    def _row_builder(self, table: Table) -> RowBuilder:
        """Return the builder of a raw table's rows, with the columns the warehouse has."""
        state = self._context.state
        columns = state.columns.get(table.name, {})
        reported = self._context.request.reported_changes
        return RowBuilder(table, columns, state.last_values, reported)

    def add_side_table(self, table: Table) -> SideTableDiff:
        """Add a raw table of side-loaded records, with what the warehouse holds of it."""
        batches = self._context.state.row_hashes(table.name, table.key)
        digests = {
            key: digest_of(text)
            for batch in batches
            for key, text in zip(*(column.to_pylist() for column in batch.columns), strict=True)
        }
        rows, rewritten = self._row_builder(table), self._context.report.rewritten
        side = SideTableDiff(rows, digests, self.rejects, rewritten)
        self.sides[table.name] = side
        return side

    def compare(self, page: Page) -> Iterator[Batch]:
        """Compare a page of milestones and side loads with the raw tables; yield full batches."""
        yield from self.milestones.compare(page)
        for name, records in page.side_loaded.items():
            yield from self._side_table(name).compare(records, page.observed_at)
            self.note_base_units(records.values())
        self._odd_maps |= set(page.odd)
        projects = page.side_loaded.get(WORKSPACES.name, {})
        self.readable_projects |= projects.keys()
        for record in page.records.values():
            project = record.get("workspace_id")
            if is_id(project) and str(project) not in projects:
                self.projects_without_record.add(str(project))

    def note_base_units(self, records: Iterable[Record]) -> None:
        """Note in the report the minor units that projects and invoices give for currencies."""
        for record in records:
            currency, units = record.get("currency"), record.get("currency_base_unit")
            if type(currency) is str and type(units) is int:
                self._context.report.base_units.setdefault(currency, set()).add(units)

    def _side_table(self, side_load: str) -> SideTableDiff:
        """Return the raw table of a side-loaded type; a type not seen before gets a new table."""
        if side_load not in self._side_names:
            table = undeclared_table(column_name(side_load, _RESERVED_TABLES))
            if table.name not in self._context.state.columns:
                self._context.report.schema_changes.append(f"{table.name} is a new table")
            self.add_side_table(table)
            self._side_names[side_load] = table.name
        return self.sides[self._side_names[side_load]]

    def flush(self) -> Iterator[Batch]:
        """Yield the rows compared so far of milestones and side-loaded records."""
        yield from self.milestones.flush()
        for side in self.sides.values():
            yield from side.flush()

    def finish(self, read: int) -> Iterator[Batch]:
        """Yield the remaining batches of all raw tables, then complete the report.

        Args:
            read: Number of milestones read.
        """
        yield from self.flush()
        yield from self.milestones.missing_versions(self._context.reader.now())
        yield from self.rejects.flush()
        self._fill_report(read)

    def _fill_report(self, read: int) -> None:
        """Fill the report with totals, rejects and schema changes of the raw tables."""
        report, reader = self._context.report, self._context.reader
        report.read = read
        report.totals = self.index.totals()
        report.unproven = self.index.unproven()
        report.rejected = self.rejects.open()
        report.side_rows = {s.name: s.changed for s in self.sides.values() if s.changed}
        report.requests = reader.requests
        report.server_time = reader.server_time
        report.observed_until = reader.now()
        report.warnings += [
            f"{' and '.join(missing)} missing from all {rows.table.name} that were read, so their "
            "figures are wrong: did the token's user lose a permission?"
            for rows in (self._milestone_rows, *(side.rows for side in self.sides.values()))
            if (missing := rows.missing_decisive())
        ]
        report.warnings += [
            f"side-loaded {name} was not completely loaded: {why}"
            for name, why in sorted(self._odd_maps)
        ]
        for rows in (self._milestone_rows, *(side.rows for side in self.sides.values())):
            report.schema_changes += rows.drift.lines(
                with_new=self._context.request.has_validated_run, is_scan=report.mode == "scan"
            )
