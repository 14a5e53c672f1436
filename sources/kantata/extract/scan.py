"""A complete, concurrent read of the milestone list while it changes.

The list is read in order of creation, so new rows come at the end. A deleted row shifts all later
ones to the left: pages read first to last skip rows, while pages read last to first do not, since
a shift moves rows only into pages still unread. So each worker reads its own block of pages, last
to first. A row may cross from one block into the one below after that one's top page was read. To
find it, the top page of each block is read again, and further down until a row turns up that a
worker of that block, or of a lower one, had read first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from queue import Empty, Full, Queue

from ..api.envelope import Page
from ..api.reader import KantataReader
from ..api.transport import Parameters
from ..errors import KantataIncomplete, KantataMoving
from ..settings import ATTEMPTS, MILESTONE_INCLUDES, MILESTONES_PATH, PER_PAGE
from .ids import counted

ORDER = "created_at:asc"
SCAN_ATTEMPTS = 3
TAIL_PAGES = 10  # new pages at the end that are still read; the next run reads the others
_REREAD = 255  # instead of a block's number: an id first read while block tops are read again

Progress = Callable[[int, int, int], None]
"""Called with rows read so far, pages read so far, and number of pages."""


@dataclass(frozen=True)
class _Block:
    """A block of the scan: pages ``low`` to ``high``, read by one worker from last to first."""

    number: int
    low: int
    high: int


class Scan:
    """Scans the whole list of milestones.

    Args:
        reader: Reads from Kantata.
        in_flight: Concurrent requests, 1 to 200.
        progress: Called after each page.
        filters: Parameters that restrict the list; a server may ignore them.
    """

    def __init__(
        self,
        reader: KantataReader,
        in_flight: int = 4,
        progress: Progress | None = None,
        filters: Parameters | None = None,
    ) -> None:
        self.seen: dict[str, int] = {}
        self._reader = reader
        self._in_flight = in_flight
        self._progress = progress
        self._filters = filters or {}
        self._counts: set[int] = set()
        self._latest: Page | None = None
        self._pages_read = self._last_page_number = 0

    def pages(self) -> Iterator[Page]:
        """Yield every page of the scan, some of them twice; complete when the iterator ends.

        Raises:
            KantataMoving: If the list changed too fast to be read completely.
            KantataIncomplete: If it shows fewer rows than it counts, however often it is read.
            KantataError: If a request failed.
        """
        for _ in range(SCAN_ATTEMPTS):
            self.seen.clear()
            self._counts.clear()
            self._latest = None
            self._pages_read = self._last_page_number = 0
            yield from self._read_list()
            if len(self.seen) >= min(self.count, self._last_page_number * PER_PAGE):
                return
        missing = (
            f"read {len(self.seen)} of {counted(self.count, 'milestone')} in each of "
            f"{SCAN_ATTEMPTS} tries"
        )
        if len(self._counts) > 1:
            raise KantataMoving(
                f"{missing}: the list is changing too fast. Nothing was loaded; try again later."
            )
        raise KantataIncomplete(
            f"{missing}: Kantata counts more than it shows. Nothing was loaded."
        )

    @property
    def count(self) -> int:
        """Rows of the whole scanned list, by the latest answer."""
        return self._latest.count if self._latest else 0

    def _read_list(self) -> Iterator[Page]:
        """Scan the whole list once."""
        first = self._read_page(1)
        if first.pages <= 1:
            yield self._record(first, 0, 1)
            return
        blocks = _split_into_blocks(first.pages, self._in_flight)
        for number, page in _run_concurrently({b.number: self._pages_of_block(b) for b in blocks}):
            yield self._record(page, number, first.pages)
        tops = {block.number: self._reread_top(block) for block in blocks[:-1]}
        for _, page in _run_concurrently({**tops, _REREAD: self._pages_at_end(first.pages)}):
            yield self._record(page, _REREAD, first.pages)

    def _pages_of_block(self, block: _Block) -> Iterator[Page]:
        """Yield the pages of one block of the scan, from the last to the first."""
        return (self._read_page(number) for number in range(block.high, block.low - 1, -1))

    def _reread_top(self, block: _Block) -> Iterator[Page]:
        """Read the rows that crossed into this block after the scan had read its top page."""
        for number in range(block.high, 0, -1):
            page = self._read_page(number)
            settled = any(self.seen.get(id_, _REREAD) <= block.number for id_ in page.records)
            yield page
            if settled:
                return

    def _pages_at_end(self, pages: int) -> Iterator[Page]:
        """Read the rows that were added at the list's end during the scan."""
        page = self._read_page(pages)
        yield page
        while page.number < min(page.pages, pages + TAIL_PAGES):
            page = self._read_page(page.number + 1)
            yield page

    def _record(self, page: Page, block: int, pages: int) -> Page:
        """Record the rows that a page of the scan shows, report progress, return the page."""
        if self._latest is None or page.observed_at > self._latest.observed_at:
            self._latest = page
        self._last_page_number = max(self._last_page_number, page.number)
        self._counts.add(page.count)
        for record_id in page.records:
            self.seen.setdefault(record_id, block)
        self._pages_read += 1
        if self._progress:
            self._progress(len(self.seen), min(self._pages_read, pages), pages)
        return page

    def _read_page(self, number: int) -> Page:
        """Read one page of the scan that has all its rows."""
        for _ in range(ATTEMPTS):
            page = self._reader.page(
                MILESTONES_PATH,
                {
                    "order": ORDER,
                    "per_page": PER_PAGE,
                    "page": number,
                    "include": MILESTONE_INCLUDES,
                    **self._filters,
                },
            )
            _check_order(page)
            if page.number in (number, 0) and len(page.records) == page.expected and page.whole:
                return page
        shown = f"shows {counted(len(page.records), 'milestone')} instead of {page.expected}"
        if page.pages * page.size < page.count:
            counts = f"{counted(page.pages, 'page')} and {counted(page.count, 'milestone')}"
            shown = f"counts {counts}, a contradiction"
        raise KantataIncomplete(
            f"page {number} {shown}, {ATTEMPTS} times in a row. Nothing was loaded."
        )


def _split_into_blocks(pages: int, in_flight: int) -> list[_Block]:
    """Split the scan's pages into one block per worker, of nearly equal size."""
    workers = min(in_flight, pages)
    ends = [pages * n // workers for n in range(workers + 1)]
    return [_Block(n, ends[n] + 1, ends[n + 1]) for n in range(workers)]


def _check_order(page: Page) -> None:
    """Check that the scanned list has the order requested: Kantata ignores an unknown one."""
    times = [record.get("created_at") for record in page.records.values()]
    try:
        ordered = datetime.fromisoformat(str(times[0])) <= datetime.fromisoformat(str(times[-1]))
    except (IndexError, TypeError, ValueError):
        return  # an empty page, or invalid times, for which the records are rejected
    if not ordered:
        raise KantataIncomplete(
            f"Kantata does not keep to order={ORDER}: a list that changes cannot be "
            "read completely in another order. Nothing was loaded."
        )


def _run_concurrently(page_iterators: Mapping[int, Iterator[Page]]) -> Iterator[tuple[int, Page]]:
    """Run the scan's iterators of pages, each in a thread; yield pages with the iterator's key.

    The threads are daemons, so that Ctrl-C never waits for a request to end. The first error of any
    iterator ends all.
    """
    queue: Queue[tuple[int, Page | Exception | None]] = Queue(2 * len(page_iterators))
    stopped = threading.Event()

    def put(number: int, item: Page | Exception | None) -> bool:
        while not stopped.is_set():
            try:
                queue.put((number, item), timeout=1)
            except Full:
                continue
            return True
        return False

    def work(number: int, pages: Iterator[Page]) -> None:
        try:
            for page in pages:
                if not put(number, page):
                    return
            put(number, None)
        except Exception as error:  # the consumer raises it
            put(number, error)

    for job in page_iterators.items():
        threading.Thread(target=work, args=job, name=f"kantata-pages-{job[0]}", daemon=True).start()
    try:
        yield from _queued_pages(queue, len(page_iterators))
    finally:
        stopped.set()


def _queued_pages(
    queue: Queue[tuple[int, Page | Exception | None]], working: int
) -> Iterator[tuple[int, Page]]:
    """Yield the pages that the scan's threads put into a queue, until all threads have ended."""
    while working:
        try:
            number, item = queue.get(timeout=1)  # a wait without end would keep Ctrl-C waiting
        except Empty:
            continue
        if isinstance(item, Exception):
            raise item
        if item is None:
            working -= 1
        else:
            yield number, item
