"""Kantata's envelope: an ordered list of keys and ids, and maps of records by id.

    {"count": 2, "meta": {...}, "results": [{"key": "billing_milestones", "id": "7"}, ...],
     "billing_milestones": {"7": {...}, ...}, "workspaces": {"3": {...}}, ...}

Only ``results`` says which records are the answer, and in what order: a map may also hold
side-loaded records of the same type.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from ..errors import KantataUnavailable

Record = dict[str, Any]  # one JSON object of Kantata's: anything may be in it


@dataclass(frozen=True)
class Page:
    """One page of a list, as Kantata's envelope holds it.

    Args:
        records: The records that ``results`` names, by id, in its order.
        side_loaded: The other maps: type, then id, then record.
        count: Rows in the whole list.
        number: This page's number, from 1.
        pages: Pages in the whole list.
        size: Rows a full page has.
        observed_at: When it was read, UTC; later than that of every page read before.
        odd: Side-loaded types that are not a map of records by id, each with what is wrong.
    """

    records: dict[str, Record]
    side_loaded: dict[str, dict[str, Record]]
    count: int
    number: int
    pages: int
    size: int
    observed_at: datetime
    odd: tuple[tuple[str, str], ...] = ()

    @property
    def whole(self) -> bool:
        """Whether the envelope has all rows of its page, and its list has all its pages."""
        return len(self.records) >= self.expected and self.pages * self.size >= self.count

    @property
    def expected(self) -> int:
        """Rows this page's envelope must have by its own count; an empty list has page number 0."""
        before = max(0, self.number - 1) * self.size
        return max(0, min(self.size, self.count - before))

    def restricted_to(self, ids: frozenset[str]) -> Page:
        """Return the envelope's page with these ids only; a server may ignore ``only``."""
        return replace(self, records={k: v for k, v in self.records.items() if k in ids})


def read_page(body: object, key: str, observed_at: datetime) -> Page:
    """Parse Kantata's envelope into a page.

    Args:
        body: The parsed JSON.
        key: The type of the list's records, such as ``billing_milestones``.
        observed_at: When it was read.

    Raises:
        KantataUnavailable: If it is no envelope, or names a record it does not contain.
    """
    try:
        return _read_page(body, key, observed_at)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise KantataUnavailable(
            f"the answer for {key} is not Kantata's envelope ({type(error).__name__}: {error})"
        ) from None


def _read_page(body: Any, key: str, observed_at: datetime) -> Page:  # noqa: ANN401 - any JSON
    """Parse Kantata's envelope into a page, with Python's own errors if it is invalid."""
    results = body["results"]
    own = body.get(key, {})
    meta = body.get("meta", {})
    records = {str(row["id"]): own[str(row["id"])] for row in results if row["key"] == key}
    if not all(type(record) is dict for record in records.values()):
        raise TypeError("a record is not an object")
    maps, odd = _side_loaded(body, frozenset({key, "meta", "results"}))
    count, size = int(body["count"]), max(1, int(meta.get("page_size", len(records) or 1)))
    return Page(
        records=records,
        side_loaded=maps,
        odd=tuple(odd),
        count=count,
        number=int(meta.get("page_number", 1)),
        pages=min(int(meta.get("page_count", 1)), max(1, -(-count // size))),  # never without end
        size=size,
        observed_at=observed_at,
    )


def _side_loaded(
    body: dict[str, Any], others: frozenset[str]
) -> tuple[dict[str, dict[str, Record]], list[tuple[str, str]]]:
    """Return the envelope's maps of side-loaded records, and the types in another shape."""
    maps: dict[str, dict[str, Record]] = {}
    odd: list[tuple[str, str]] = []
    for name, value in body.items():
        if name in others:
            continue
        if isinstance(value, dict):
            rows = {id_: row for id_, row in value.items() if type(row) is dict}
            if rows or not value:
                maps[name] = rows
            if len(rows) < len(value) and (rows or None in value.values()):
                odd.append((name, "some of its records are not objects"))
        elif isinstance(value, list) and any(type(row) is dict for row in value):
            odd.append((name, "it is a list, not a map by id"))
    return maps, odd


def error_messages(body: object) -> str:
    """Return the errors of Kantata's envelope in one line of at most 300 characters.

    A NUL, which Postgres cannot store, becomes U+FFFD.
    Both shapes are read: ``errors`` as documented, ``error_message`` as its Ruby client expects.
    """
    if not isinstance(body, dict):
        return ""
    errors = body.get("errors")
    parts = [_one_error(e) for e in errors] if isinstance(errors, list) else []
    if isinstance(body.get("error_message"), str):
        parts.append(body["error_message"])
    return " ".join("; ".join(parts).replace("\0", "\ufffd").split())[:300]


def _one_error(error: object) -> str:
    """Return one error of Kantata's envelope as text."""
    if not isinstance(error, dict):
        return str(error)
    field = error.get("field")
    message = str(error.get("message", "no reason given"))
    return f"{field}: {message}" if field and field != "base" else message
