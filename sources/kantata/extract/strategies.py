"""One read of the account as batches to load: what the feed tells of, or everything."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from ..api.envelope import Page
from ..api.reader import KantataReader
from ..errors import KantataFieldLost
from ..schema import CURRENCIES
from ..settings import MILESTONE_INCLUDES, MILESTONES_PATH
from ..state import WarehouseState
from ..transform.diff import Batch
from ..transform.milestone_index import MilestoneIndex
from ..transform.rejects import Rejects, storable
from .deletions import NOT_ALLOWED, IndividualLookups, fetch_one
from .feed import Feed, NoFeed
from .scan import Progress, Scan
from .tables import ExtractContext, ExtractTables, first_few

_FEW = 20  # so many milestones may vanish at once without a question
_SCAN_IS_CHEAPER = 2_000  # changed milestones, or a fifth of all
_CANARIES = 20


def read_account(
    task: ExtractContext,
    in_flight: int = 4,
    progress: Progress | None = None,
    note: Callable[[str], None] | None = None,
) -> Iterator[Batch]:
    """Read what changed, or everything; the report is complete when the iterator ends.

    Args:
        task: What the run is given.
        in_flight: Requests at the same time in a scan, 1 to 200.
        progress: Told after each page of a scan.
        note: Told in one line what was chosen, and why.

    Raises:
        KantataError: Named by what to do next.
    """
    collecting = gc.isenabled()
    gc.disable()  # millions of records without a cycle: looking for some takes a third of the time
    try:
        read = (
            _read_touched(task)
            or _feed_changes(task)
            or FullScan(task, Scan(task.reader, in_flight, progress))
        )
        if note:
            note(f"{task.report.mode}: {task.report.why}")
        yield from read.batches()
    finally:
        task.reader.pace.stop()  # workers that still wait for a retry need not
        if collecting:
            gc.enable()


def _read_touched(task: ExtractContext) -> EventFeed | None:
    """What was just written to; None if nothing was, or that is not all there is to read."""
    request, report = task.request, task.report
    if not request.touched or request.unfinished or request.cursor is None:
        return None
    ids = sorted(request.touched, key=_number)
    try:
        gathered = _lookup_ids(task.reader, task.state, ids, expected=True)
    except NoFeed:
        return None
    report.mode, report.why = "touched", f"{len(ids)} milestones were written to"
    return EventFeed(task, gathered)


def _feed_changes(task: ExtractContext) -> EventFeed | None:
    """What the feed tells of; None, and the reason in the report, if a scan is due instead."""
    report = task.report
    try:
        feed = Feed(task.reader, task.request)
        gathered = _gather(task.reader, task.state, feed)
    except NoFeed as reason:
        report.mode, report.why = "scan", str(reason)
        return None
    report.mode, report.why = "feed", f"changes since {feed.since:%Y-%m-%d %H:%M} UTC"
    return EventFeed(task, gathered)


class FullScan(ExtractTables):
    """Everything there is."""

    def __init__(self, task: ExtractContext, scan: Scan) -> None:
        super().__init__(
            task, MilestoneIndex(task.state.milestone_hashes()), Rejects(task.state.open_rejects())
        )
        self._scan = scan
        self._held_back = False

    def batches(self) -> Iterator[Batch]:
        """Read every page, then settle which known milestones are gone."""
        scan = self._scan
        for page in scan.pages():
            yield from self._take(page)
        yield from self._milestones.flush()
        self._check_fields()
        yield from self._missing()
        yield from self._projects()
        yield from self._currencies()
        yield from self._invoices_left()
        self._close_rejects()
        yield from self._end(len(scan.seen))

    def _close_rejects(self) -> None:
        """Resolve what is open of records that are gone: nothing will ever show them good."""
        shown = set(map(storable, self._scan.seen)) if self._rejects.tables() else set()
        for id_ in self._rejects.open_of(MILESTONES_PATH) - shown:
            if not self._index.is_live(id_):
                self._rejects.good(MILESTONES_PATH, id_, self._reader.now())
        for table in set() if self._held_back else self._rejects.tables() - {MILESTONES_PATH}:
            side = self._sides.get(table)
            for id_ in self._rejects.open_of(table) if side is None else side.unshown:
                self._rejects.good(table, id_, self._reader.now())

    def _check_fields(self) -> None:
        """Stop if a field that figures rest on is missing everywhere."""
        read = len(self._scan.seen)
        lost = [name for name, ids in self._milestones.lacking.items() if len(ids) >= read > 0]
        if lost:
            raise KantataFieldLost(
                f"{' and '.join(sorted(lost))} is missing from all {read} milestones: did the "
                "token's user lose a permission? Nothing was loaded."
            )

    def _missing(self) -> Iterator[Batch]:
        """Settle what the list did not show; if that is much, only with leave."""
        missing, index = sorted(self._index.unread(), key=_number), self._index
        if not self._request.allow_deletes:
            sudden = [id_ for id_ in missing if not index.is_lost(id_)]
            projects = self._request.deleted_projects
            if projects and sudden:
                held = self._state.last_values(MILESTONES_PATH, "id", sudden, ["workspace_id"])
                ids, of = (column.to_pylist() for column in held.columns)
                allowed = {i for i, project in zip(ids, of, strict=True) if project in projects}
                sudden = [id_ for id_ in sudden if id_ not in allowed]
            self._held_back = self._too_many(len(sudden))
            if self._held_back:
                # Without the number of all, which changes by the hour: alerts compare these words.
                self._report.warnings.append(
                    f"{len(sudden)} milestones are missing at once, more than a tenth "
                    f"({first_few(sudden, 3)}): nothing was marked as deleted. Does the token's "
                    "user still see them? If they are deleted, say so: milestones sync "
                    "--allow-deletes"
                )
                return
        canaries = [id_ for id_, _ in zip(self._scan.seen, range(_CANARIES), strict=False)]
        alone = not canaries and self._request.allow_deletes
        yield from self._settle(
            missing, canaries, IndividualLookups.ALL if alone else IndividualLookups.SOME
        )

    def _too_many(self, missing: int) -> bool:
        if missing and not self._scan.seen:
            return True
        return missing > _FEW and missing > self._state.live_count() // 10


@dataclass(frozen=True)
class _Gathered:
    """What the feed led to: milestones as they are, and those that are gone."""

    index: MilestoneIndex
    rejects: Rejects
    pages: list[Page]
    gone: list[str]
    before: set[str]

    @property
    def grown(self) -> int:
        """How many more there are now."""
        after = {id_ for page in self.pages for id_ in page.records}
        return len(after - self.before) - len(self.before - after)


def _gather(reader: KantataReader, state: WarehouseState, feed: Feed) -> _Gathered:
    """Read what may have changed, and check by the list's count that this is all.

    Raises:
        NoFeed: If it cannot be all, or is so much that a scan is cheaper.
    """
    changes = feed.changes()
    invoices = changes.invoices | (
        set() if feed.tells_of_deleted_invoices else set(state.draft_invoices())
    )
    ids = sorted(
        changes.milestones | set(state.milestones_on_invoices(sorted(invoices))), key=_number
    )
    live = state.live_count()
    if len(ids) > max(_SCAN_IS_CHEAPER, live // 5):
        raise NoFeed(f"{len(ids)} milestones may have changed, so a scan is cheaper")
    gathered = _lookup_ids(reader, state, ids)
    expected = live + gathered.grown
    count = reader.page(MILESTONES_PATH, {"per_page": 1, "page": 1}).count
    if count != expected:
        raise NoFeed(f"Kantata counts {count} milestones, and the feed accounts for {expected}")
    return gathered


def _lookup_ids(
    reader: KantataReader, state: WarehouseState, ids: list[str], expected: bool = False
) -> _Gathered:
    """Read these milestones, and find out which are gone.

    Args:
        reader: The door to Kantata.
        state: What the warehouse holds.
        ids: Which ones.
        expected: Whether any number of them may be gone without a question.

    Raises:
        NoFeed: If that cannot be known in this way.
    """
    live = state.live_count()
    index, rejects = MilestoneIndex(state.milestone_hashes(ids)), Rejects(state.open_rejects())
    before = {i for i in ids if index.is_live(i) or rejects.is_open(MILESTONES_PATH, i)}
    pages = list(reader.only(MILESTONES_PATH, ids, include=MILESTONE_INCLUDES))
    missing = before.difference(*(page.records for page in pages))
    if not expected and len(missing) > _FEW and len(missing) > live // 10:
        raise NoFeed(f"{len(missing)} of {live} milestones are missing at once")
    gone = []
    for id_ in missing:
        try:
            page = fetch_one(reader, id_)
        except NOT_ALLOWED as error:
            raise NoFeed(f"milestone {id_} is missing from lists: {error}") from None
        gone += [id_] if page is None else []
        pages += [page] if page is not None else []
    return _Gathered(index, rejects, pages, sorted(gone, key=_number), before)


class EventFeed(ExtractTables):
    """What the feed tells of."""

    def __init__(self, task: ExtractContext, gathered: _Gathered) -> None:
        super().__init__(task, gathered.index, gathered.rejects)
        self._gathered = gathered

    def batches(self) -> Iterator[Batch]:
        """Load what the feed names, then settle which of those are gone."""
        gathered = self._gathered
        seen: dict[str, None] = {}
        for page in gathered.pages:
            seen |= dict.fromkeys(page.records)
            yield from self._take(page)
        yield from self._milestones.flush()
        unknown = [id_ for id_ in gathered.gone if not self._index.is_live(id_)]
        for id_ in unknown:  # never typed, so it is in no table but rejected_records
            self._rejects.good(MILESTONES_PATH, id_, self._reader.now())
        alive = [*seen, *self._state.recent_ids(_CANARIES)][:_CANARIES]
        gone = [id_ for id_ in gathered.gone if id_ not in unknown]
        canaries = [id_ for id_ in alive if id_ not in gathered.gone]
        yield from self._settle(gone, canaries, IndividualLookups.NONE)
        yield from self._projects()
        yield from self._invoices_left()
        if self._new_day() or self._without_unit():
            yield from self._currencies()
        self._report.ids = self._index.ids()
        yield from self._end(len(seen))

    def _new_day(self) -> bool:
        """Whether no run was proven today, by Kantata's clock."""
        now, then = self._reader.server_time, self._request.cursor
        return now is None or then is None or now.date() != then.date()

    def _without_unit(self) -> bool:
        """Whether a milestone that was read has a currency the warehouse does not know."""
        held = self._state.row_hashes(CURRENCIES.name, CURRENCIES.key)
        state = {code for batch in held for code in batch.column(0).to_pylist()}
        return not state.issuperset(self._index.totals())


def _number(id_: str) -> tuple[int, str]:
    return len(id_), id_
