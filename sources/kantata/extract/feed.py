"""Reads the event feed: subscribed events, and changed invoices, since the last validated run.

Events are hints: late, doubled, out of order. Invoicing a milestone may raise no event for it, so
changed invoices are read, too. What both miss, the next full scan finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from ..api.envelope import Page
from ..api.reader import KantataReader
from ..api.transport import Parameters
from ..errors import KantataError, KantataThrottled, KantataUnauthorized
from ..request import ExtractRequest
from ..schema import INVOICES
from ..settings import PER_PAGE
from ..transform.conversion import is_id

EVENTS = "subscribed_events"
RETENTION = timedelta(days=6)  # API.md#subscribed-events: 6, 7 or 9 days, depending on the source
OVERLAP = timedelta(hours=1)  # events may be that late
_MILESTONE = "billing_milestone:"
_VERBS = ("created", "updated", "deleted")
_INVOICE_DELETED = "invoice:deleted"
_EVENT_TYPE = re.compile(r"[a-z_]+:[a-z_]+")


class FeedUnavailable(Exception):
    """The event feed cannot be used now; the message is the reason."""


@dataclass
class FeedChanges:
    """Milestones and invoices that may have changed, according to the event feed.

    Args:
        milestones: Ids of milestones.
        invoices: Ids of invoices whose milestones may have changed.
    """

    milestones: set[str] = field(default_factory=set)
    invoices: set[str] = field(default_factory=set)


class FeedReader:
    """Reads the event feed.

    Args:
        reader: Reads from Kantata.
        request: What earlier runs did.

    Raises:
        FeedUnavailable: If a scan is due, or the feed cannot be used.
        KantataError: If Kantata cannot be reached at all.
    """

    def __init__(self, reader: KantataReader, request: ExtractRequest) -> None:
        if request.full:
            raise FeedUnavailable("requested by --full")
        if request.allow_deletes or request.deleted_projects:
            raise FeedUnavailable("requested by --allow-deletes")
        if request.cursor is None or request.scanned_at is None:
            raise FeedUnavailable(
                "Kantata stated no time in the last validated run"
                if request.has_validated_run
                else "no run was validated yet"
            )
        if request.unfinished:
            raise FeedUnavailable("a run ended while it was loading, and none was validated since")
        self._reader = reader
        self.since = request.cursor
        self._types = self._event_types()
        self._check_times(request.scanned_at, request.scan_every)

    def _event_types(self) -> list[str]:
        """Read the event types to request from the feed, in whatever shape they are listed."""
        with _feed_errors(self._reader):
            body = self._reader.json(f"{EVENTS}/event_types", {}).body
        names = set(_type_names(body))
        of_milestones = sorted(name for name in names if name.startswith(_MILESTONE))
        if lacking := [verb for verb in _VERBS if _MILESTONE + verb not in names]:
            raise FeedUnavailable(
                f"there are no events of {' and '.join(lacking)} billing milestones"
            )
        return [*of_milestones, *({_INVOICE_DELETED} & names)]

    def _check_times(self, scanned_at: datetime, scan_every: timedelta) -> None:
        """Check by Kantata's clock that the feed reaches back far enough and no scan is due."""
        now = self._reader.server_time
        if now is None:
            raise FeedUnavailable("Kantata does not state its time")
        if now < self.since:
            raise FeedUnavailable(
                f"Kantata's clock went back behind {self.since:%Y-%m-%d %H:%M} UTC"
            )
        if now - scanned_at >= scan_every:
            raise FeedUnavailable(f"the last validated scan began {scanned_at:%Y-%m-%d %H:%M} UTC")
        if now - self.since >= RETENTION:
            raise FeedUnavailable(
                f"the feed does not reach back to {self.since:%Y-%m-%d %H:%M} UTC"
            )

    @property
    def reports_deleted_invoices(self) -> bool:
        """Whether the feed has an event for a deleted invoice."""
        return _INVOICE_DELETED in self._types

    def changes(self) -> FeedChanges:
        """Read from the feed the ids of milestones and invoices that may have changed.

        Raises:
            FeedUnavailable: If the feed cannot be read.
        """
        changes = FeedChanges()
        since = f"{(self.since - OVERLAP).astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"
        with _feed_errors(self._reader):
            self._read_events(since, changes)
            self._read_invoices(since, changes)
        return changes

    def _read_events(self, since: str, changes: FeedChanges) -> None:
        """Read the feed's events since a time, and add the milestones and invoices they name."""
        query: Parameters = {
            "event_types": ",".join(self._types),
            "created_after": since,
            "order": "created_at:asc",
            "per_page": PER_PAGE,
        }
        for page in _pages_forward(self._reader, EVENTS, query):
            for event in page.records.values():
                subject, name = event.get("subject_id"), event.get("event_type")
                if (
                    not is_id(subject)
                    or not isinstance(name, str)
                    or not _EVENT_TYPE.fullmatch(name)
                ):
                    raise FeedUnavailable("its events do not name their subject")
                if name.startswith(_MILESTONE):
                    changes.milestones.add(str(subject))
                elif name == _INVOICE_DELETED:
                    changes.invoices.add(str(subject))

    def _read_invoices(self, since: str, changes: FeedChanges) -> None:
        """Add invoices changed since a time, with their milestones, to what the feed names."""
        query: Parameters = {
            "updated_after": since,
            "order": "updated_at:asc",
            "include": "billing_milestones",
            "per_page": PER_PAGE,
        }
        for page in _pages_backward(self._reader, INVOICES.name, query):
            changes.invoices |= page.records.keys()
            milestones = page.side_loaded.get("billing_milestones", {}).keys()
            changes.milestones |= milestones
            if not milestones and _lack(page, "billing_milestone_ids"):
                raise FeedUnavailable("invoices do not name their milestones")
            for invoice in page.records.values():
                ids = invoice.get("billing_milestone_ids") or []
                if not isinstance(ids, list) or not all(map(is_id, ids)):
                    raise FeedUnavailable("invoices do not name their milestones")
                changes.milestones |= set(map(str, ids))


def _lack(page: Page, field: str) -> bool:
    """Return whether the feed's page has records, and none of them has this field."""
    return bool(page.records) and all(field not in record for record in page.records.values())


@contextmanager
def _feed_errors(reader: KantataReader) -> Iterator[None]:
    """Turn errors of the feed into ``FeedUnavailable``, since the list may still be readable."""
    try:
        yield
    except (KantataUnauthorized, KantataThrottled):
        raise
    except KantataError as error:
        if reader.server_time is None:  # nothing was ever answered
            raise
        raise FeedUnavailable(f"no feed: {error}") from None


def _type_names(body: object) -> Iterator[str]:
    """Yield every text in any JSON that looks like the name of a type of feed events."""
    if isinstance(body, str):
        if _EVENT_TYPE.fullmatch(body):
            yield body
    elif isinstance(body, dict):
        for key, value in body.items():
            yield from _type_names(key)
            yield from _type_names(value)
    elif isinstance(body, list):
        for value in body:
            yield from _type_names(value)


def _pages_forward(reader: KantataReader, path: str, query: Parameters) -> Iterator[Page]:
    """Read a feed's pages first to last: right for a list that only grows at its end."""
    number, pages = 1, 1
    while number <= pages:
        page = _read_page(reader, path, {**query, "page": number})
        yield page
        number, pages = number + 1, page.pages


def _pages_backward(reader: KantataReader, path: str, query: Parameters) -> Iterator[Page]:
    """Read a feed's pages last to first: right for a list whose rows leave or move to its end."""
    page = _read_page(reader, path, {**query, "page": 1})
    yield page
    pages = page.pages
    if pages <= 1:
        return
    for number in range(pages, 0, -1):
        page = _read_page(reader, path, {**query, "page": number})
        yield page
    for number in range(pages, page.pages + 1):
        yield _read_page(reader, path, {**query, "page": number})


def _read_page(reader: KantataReader, path: str, query: Parameters) -> Page:
    """Read a page of the feed, and check that it shows as many rows as it counts."""
    page = reader.page(path, query)
    if not page.whole:
        raise FeedUnavailable(f"{path} shows only {len(page.records)} of {page.count} rows")
    return page
