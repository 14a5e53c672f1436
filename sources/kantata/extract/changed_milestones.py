"""Reads milestones that may have changed, by their ids, and finds out which no longer exist."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from ..api.envelope import Page
from ..api.reader import KantataReader
from ..settings import MILESTONE_INCLUDES, MILESTONES_PATH
from ..transform.milestone_index import MilestoneIndex
from ..transform.rejects import Rejects
from ..warehouse_state import WarehouseState
from .deletions import NOT_ALLOWED, fetch_one
from .feed import FeedReader, FeedUnavailable
from .ids import counted, in_numeric_order

FEW_MISSING = 20  # so many milestones may be missing at once without being held back
_SCAN_IS_CHEAPER = 2_000  # when more have changed than this, or a fifth of all


@dataclass(frozen=True, kw_only=True)
class ChangedMilestones:
    """Milestones that may have changed, as they are now.

    Args:
        index: What the warehouse holds of them.
        rejects: Records that cannot be typed.
        pages: The milestones as they are now.
        not_found: Ids of those that are 404.
        known: Ids of those that existed before, as far as the warehouse knows.
    """

    index: MilestoneIndex
    rejects: Rejects
    pages: list[Page]
    not_found: list[str]
    known: set[str]

    @property
    def growth(self) -> int:
        """How many more of the changed milestones exist now than before."""
        now = {id_ for page in self.pages for id_ in page.records}
        return len(now - self.known) - len(self.known - now)


def read_changed(
    reader: KantataReader, state: WarehouseState, feed: FeedReader
) -> ChangedMilestones:
    """Read the milestones that the feed says may have changed, and check the list's count.

    Raises:
        FeedUnavailable: If the count differs, or a scan would be cheaper.
    """
    changes = feed.changes()
    drafts = set() if feed.reports_deleted_invoices else set(state.draft_invoices())
    on_invoices = state.milestones_on_invoices(sorted(changes.invoices | drafts))
    ids = in_numeric_order(changes.milestones | set(on_invoices))
    live = state.live_count()
    if len(ids) > max(_SCAN_IS_CHEAPER, live // 5):
        raise FeedUnavailable(
            f"{counted(len(ids), 'milestone')} may have changed, so a scan is cheaper"
        )
    changed = read_by_ids(reader, state, ids)
    expected = live + changed.growth
    count = reader.page(MILESTONES_PATH, {"per_page": 1, "page": 1}).count
    if count != expected:
        raise FeedUnavailable(
            f"Kantata counts {counted(count, 'milestone')}, and the feed accounts for {expected}"
        )
    return changed


def read_by_ids(
    reader: KantataReader,
    state: WarehouseState,
    ids: list[str],
    *,
    any_may_be_gone: bool = False,
) -> ChangedMilestones:
    """Read these changed milestones, and find out which no longer exist.

    Args:
        reader: Reads from Kantata.
        state: What the warehouse holds.
        ids: The milestones.
        any_may_be_gone: Whether any number of them may be missing.

    Raises:
        FeedUnavailable: If too many are missing, or Kantata refuses to show one.
    """
    live = state.live_count()
    index, rejects = MilestoneIndex(state.milestone_hashes(ids)), Rejects(state.open_rejects())
    known = {i for i in ids if index.is_live(i) or rejects.is_open(MILESTONES_PATH, i)}
    pages = list(reader.only(MILESTONES_PATH, ids, include=MILESTONE_INCLUDES))
    missing = known.difference(*(page.records for page in pages))
    if not any_may_be_gone and len(missing) > FEW_MISSING and len(missing) > live // 10:
        raise FeedUnavailable(f"missing at once: {len(missing)} of {counted(live, 'milestone')}")
    page_by_id = _fetch_each(reader, missing)
    return ChangedMilestones(
        index=index,
        rejects=rejects,
        pages=pages + [page for page in page_by_id.values() if page is not None],
        not_found=in_numeric_order(id_ for id_, page in page_by_id.items() if page is None),
        known=known,
    )


def _fetch_each(reader: KantataReader, ids: Collection[str]) -> dict[str, Page | None]:
    """Fetch missing changed milestones one by one; those that are 404 are None."""
    page_by_id: dict[str, Page | None] = {}
    for id_ in ids:
        try:
            page_by_id[id_] = fetch_one(reader, id_)
        except NOT_ALLOWED as error:
            raise FeedUnavailable(f"milestone {id_} is missing from lists: {error}") from None
    return page_by_id
