"""Reads the account as chunks to load: by the event feed, or by a full scan."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from itertools import islice

from ..errors import KantataFieldLost
from ..schema import CURRENCIES
from ..settings import MILESTONES_PATH
from ..transform.milestone_index import MilestoneIndex
from ..transform.rejects import Rejects, storable
from ..transform.rows import Batch
from .changed_milestones import FEW_MISSING, ChangedMilestones, read_by_ids, read_changed
from .context import ExtractContext
from .deletions import IndividualLookups, mark_missing
from .feed import FeedReader, FeedUnavailable
from .ids import counted, first_few, in_numeric_order
from .project_details import ProjectDetailsRead
from .scan import Progress, Scan
from .side_reads import SideReads
from .tables import ExtractTables

Chunk = list[Batch]
"""Batches of several raw tables that belong together."""
_CANARIES = 20
# The first pages are flushed in growing chunks, so that a scan cut short is a sample of all tables.
_FLUSHED_PAGES = frozenset({1, 2, 4, 8, 16, 32})


def read_account(
    context: ExtractContext,
    *,
    requests_in_flight: int = 4,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> Iterator[Chunk]:
    """Read the account by one of the strategies; the report is complete when the iterator ends.

    Args:
        context: The context of the run.
        requests_in_flight: Concurrent requests of a scan, 1 to 200.
        progress: Called after each page of a scan.
        note: Called with one line of text: the kind of run, and why.

    Raises:
        KantataError: Its class says what to do next.
    """
    collecting = gc.isenabled()
    gc.disable()  # millions of records without cycles: collection takes a third of the time
    try:
        strategy = (
            _touched_only(context)
            or _event_feed(context)
            or FullScan(context, Scan(context.reader, requests_in_flight, progress))
        )
        if note:
            note(f"{context.report.mode}: {context.report.why}")
        yield from filter(None, strategy.chunks())
    finally:
        context.reader.pace.stop()  # ends workers that wait for a retry
        if collecting:
            gc.enable()


def _touched_only(context: ExtractContext) -> EventFeed | None:
    """Return the strategy for milestones just written to; None if none were, or more are due."""
    request, report = context.request, context.report
    if not request.touched or request.unfinished or request.cursor is None:
        return None
    ids = in_numeric_order(request.touched)
    try:
        changed = read_by_ids(context.reader, context.state, ids, any_may_be_gone=True)
    except FeedUnavailable:
        return None
    report.mode, report.why = "touched", f"read again after a push: {len(ids)}"
    return EventFeed(context, changed)


def _event_feed(context: ExtractContext) -> EventFeed | None:
    """Return the strategy of the event feed; None, with a reason reported, if a scan is due."""
    report = context.report
    try:
        feed = FeedReader(context.reader, context.request)
        changed = read_changed(context.reader, context.state, feed)
    except FeedUnavailable as reason:
        report.mode, report.why = "scan", str(reason)
        return None
    report.mode, report.why = "feed", f"changes since {feed.since:%Y-%m-%d %H:%M} UTC"
    return EventFeed(context, changed)


class FullScan:
    """Reads every milestone of the account: the strategy of a full scan.

    Args:
        context: The context of the run.
        scan: Reads the list.
    """

    def __init__(self, context: ExtractContext, scan: Scan) -> None:
        state = context.state
        self._context = context
        self._scan = scan
        self._tables = ExtractTables(
            context, MilestoneIndex(state.milestone_hashes()), Rejects(state.open_rejects())
        )
        self._deletions_held_back = False

    def chunks(self) -> Iterator[Chunk]:
        """Read every page in a full scan, then mark the known milestones that are gone."""
        tables, side_reads = self._tables, SideReads(self._context, self._tables)
        for number, page in enumerate(self._scan.pages(), start=1):
            yield [*tables.compare(page), *(tables.flush() if number in _FLUSHED_PAGES else ())]
        yield [*tables.milestones.flush()]
        self._check_required_fields()
        yield [*self._settle_missing()]
        yield [*side_reads.projects()]
        yield [*ProjectDetailsRead(self._context, tables).rows()]
        yield [*side_reads.currencies()]
        yield [*side_reads.unlinked_invoices()]
        self._resolve_rejects_of_gone()
        yield [*tables.finish(len(self._scan.seen))]

    def _check_required_fields(self) -> None:
        """Stop the full scan if every record lacks a required field."""
        read = len(self._scan.seen)
        absent = self._tables.milestones.absent_fields
        lost = [name for name, ids in absent.items() if len(ids) >= read > 0]
        if lost:
            raise KantataFieldLost(
                f"{' and '.join(sorted(lost))} is missing from all {counted(read, 'milestone')}: "
                "did the token's user lose a permission? Nothing was loaded."
            )

    def _settle_missing(self) -> Iterator[Batch]:
        """Mark known milestones that the full scan did not show, unless they are too many."""
        missing = in_numeric_order(self._tables.index.unread())
        allow_deletes = self._context.request.allow_deletes
        if not allow_deletes:
            unexpected = self._unexpected(missing)
            self._deletions_held_back = self._are_too_many(len(unexpected))
            if self._deletions_held_back:
                self._context.report.warnings.append(_held_back_warning(unexpected))
                return
        canaries = list(islice(self._scan.seen, _CANARIES))
        none_is_left = not canaries and allow_deletes
        yield from mark_missing(
            self._context,
            self._tables,
            missing,
            canaries=canaries,
            lookups=IndividualLookups.ALL if none_is_left else IndividualLookups.SOME,
        )

    def _unexpected(self, missing: list[str]) -> list[str]:
        """Return missing milestones that were readable, of projects not known as deleted."""
        index, projects = self._tables.index, self._context.request.deleted_projects
        unexpected = [id_ for id_ in missing if not index.is_access_lost(id_)]
        if not projects or not unexpected:
            return unexpected
        last = self._context.state.last_values(MILESTONES_PATH, "id", unexpected, ["workspace_id"])
        ids, project_of = (column.to_pylist() for column in last.columns)
        expected = {i for i, project in zip(ids, project_of, strict=True) if project in projects}
        return [id_ for id_ in unexpected if id_ not in expected]

    def _are_too_many(self, missing: int) -> bool:
        """Return whether a full scan misses too many milestones to mark them as deleted."""
        if missing and not self._scan.seen:
            return True
        return missing > FEW_MISSING and missing > self._context.state.live_count() // 10

    def _resolve_rejects_of_gone(self) -> None:
        """Resolve rejects of records that a full scan shows to be gone: no later read can."""
        tables, rejects, now = self._tables, self._tables.rejects, self._context.reader.now
        seen = set(map(storable, self._scan.seen)) if rejects.tables() else set()
        for id_ in rejects.open_ids(MILESTONES_PATH) - seen:
            if not tables.index.is_live(id_):
                rejects.resolve(MILESTONES_PATH, id_, now())
        if self._deletions_held_back:
            return
        for table in rejects.tables() - {MILESTONES_PATH}:
            side = tables.sides.get(table)
            for id_ in rejects.open_ids(table) if side is None else side.unseen_rejects:
                rejects.resolve(table, id_, now())


def _held_back_warning(ids: list[str]) -> str:
    """Return the warning that a full scan held back the deletion of these milestones."""
    # Without the number of all milestones, which changes hourly: alerts compare this text.
    return (
        f"{len(ids)} milestones are missing at once, more than a tenth "
        f"({first_few(ids, 3)}): nothing was marked as deleted. Does the token's "
        "user still see them? If they are deleted, confirm it: milestones sync "
        "--allow-deletes"
    )


class EventFeed:
    """Reads the milestones that may have changed, by the event feed or as just written to.

    Args:
        context: The context of the run.
        changed: Those milestones.
    """

    def __init__(self, context: ExtractContext, changed: ChangedMilestones) -> None:
        self._context = context
        self._changed = changed
        self._tables = ExtractTables(context, changed.index, changed.rejects)

    def chunks(self) -> Iterator[Chunk]:
        """Load the milestones the event feed names, then mark those that are gone."""
        tables, side_reads = self._tables, SideReads(self._context, self._tables)
        seen: dict[str, None] = {}
        for page in self._changed.pages:
            seen |= dict.fromkeys(page.records)
            yield [*tables.compare(page)]
        yield [*tables.milestones.flush()]
        yield [*self._settle_not_found(list(seen))]
        yield [*side_reads.projects()]
        if self._context.report.mode != "touched":
            yield [*ProjectDetailsRead(self._context, tables).rows()]
        yield [*side_reads.unlinked_invoices()]
        if self._must_read_currencies():
            yield [*side_reads.currencies()]
        self._context.report.ids = tables.index.ids()
        yield [*tables.finish(len(seen))]

    def _settle_not_found(self, seen: list[str]) -> Iterator[Batch]:
        """Mark the event feed's missing milestones as deleted; if never typed, resolve rejects."""
        tables, not_found = self._tables, self._changed.not_found
        live = [id_ for id_ in not_found if tables.index.is_live(id_)]
        for id_ in (id_ for id_ in not_found if id_ not in live):  # it is only in rejected_records
            tables.rejects.resolve(MILESTONES_PATH, id_, self._context.reader.now())
        alive = [*seen, *self._context.state.recent_ids(_CANARIES)][:_CANARIES]
        canaries = [id_ for id_ in alive if id_ not in not_found]
        yield from mark_missing(
            self._context, tables, live, canaries=canaries, lookups=IndividualLookups.NONE
        )

    def _must_read_currencies(self) -> bool:
        """Return whether this event feed reads the currencies, too."""
        is_requested = self._context.request.read_currencies
        return is_requested or self._is_first_today() or self._has_unknown_currency()

    def _is_first_today(self) -> bool:
        """Return whether no run before this event feed was validated today, by Kantata's clock."""
        now, then = self._context.reader.server_time, self._context.request.cursor
        return now is None or then is None or now.date() != then.date()

    def _has_unknown_currency(self) -> bool:
        """Return whether the event feed read a currency that the warehouse does not know."""
        batches = self._context.state.row_hashes(CURRENCIES.name, CURRENCIES.key)
        known = {code for batch in batches for code in batch.column(0).to_pylist()}
        return not known.issuperset(self._tables.index.totals())
