"""Reads query parameters: leniently, and as Ruby does (API.md#parameter-values)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl

from .clock import instant

Query = Mapping[str, str]

DEFAULT_PAGE = 20
MAX_PAGE = 200

_LEADING_INTEGER = re.compile(r"\s*[+-]?\d+")


def parse_query(raw: str) -> dict[str, str]:
    """Parse a query string; of a parameter given twice the last counts, as in Rails."""
    return dict(parse_qsl(raw, keep_blank_values=True))


def ruby_int(text: str) -> int:
    """Read a number in a query as Ruby's `to_i` does: its leading digits, otherwise 0."""
    found = _LEADING_INTEGER.match(text)
    return int(found.group()) if found else 0


def csv(text: str) -> list[str]:
    """Split a query's comma separated value; spaces and empty parts are dropped."""
    return [part.strip() for part in text.split(",") if part.strip()]


def truthy(text: str | None) -> bool | None:
    """Read a boolean in a query as Brainstem does; None if it is missing or empty.

    Only true, TRUE, false and FALSE are understood. Any other text stays a text, and a text is
    true: `False`, as Python writes it, means true.
    """
    return None if not text else text not in ("false", "FALSE")


def read_moment(text: str | None) -> int | None:
    """Read a time in a query as seconds; None, meaning no restriction, if missing or unreadable."""
    try:
        return instant(text.replace(" ", "+")) if text else None  # an unquoted + arrives as space
    except ValueError:
        return None


def only_ids(query: Query) -> list[str] | None:
    r"""Read the ids of a query's `only`; None if it is missing or blank, which means everything.

    What is not a number is dropped, also a number next to a space: Brainstem's pattern is
    `\A\d+\z`.
    """
    text = query.get("only", "")
    if not text.strip():
        return None
    return list(dict.fromkeys(id_ for id_ in text.split(",") if id_.isascii() and id_.isdigit()))


def read_includes(query: Query, known: tuple[str, ...]) -> tuple[str, ...]:
    """Read the known associations of a query's `include`, in their own order."""
    included = csv(query.get("include", ""))
    return tuple(name for name in known if name in included)


@dataclass(frozen=True)
class Order:
    """A query's sort by one field; ties by id ascending, as a number, whatever the direction."""

    field: str
    descending: bool


def read_order(query: Query, known: tuple[str, ...], default: str = "created_at:desc") -> Order:
    """Read the order that a query requests; an unknown field means the default order."""
    field, _, direction = query.get("order", "").partition(":")
    if field not in known:
        field, _, direction = default.partition(":")
    return Order(field, direction == "desc")


@dataclass(frozen=True)
class Window:
    """The rows that a query requests, and what `meta` says of them."""

    start: int
    stop: int | None
    page: int
    size: int

    def meta(self, count: int) -> dict[str, int]:
        """Return the query's `meta` object. It describes pages even if there is only one."""
        if not count:
            return {"count": 0, "page_count": 0, "page_number": 0, "page_size": self.size}
        pages = -(-count // self.size)
        return {
            "count": count,
            "page_count": pages,
            "page_number": self.page,
            "page_size": self.size,
        }


def read_window(query: Query) -> Window:
    """Read the rows a query requests by `only`, by `limit` and `offset`, or by page."""
    size = ruby_int(query.get("per_page", ""))
    size = DEFAULT_PAGE if size < 1 else min(size, MAX_PAGE)
    page = max(ruby_int(query.get("page", "")), 1)
    if only_ids(query) is not None:
        return Window(0, None, page, size)
    if query.get("limit") and query.get("offset"):
        limit = min(max(ruby_int(query["limit"]), 1), MAX_PAGE)
        offset = max(ruby_int(query["offset"]), 0)
        return Window(offset, offset + limit, page, size)
    return Window((page - 1) * size, page * size, page, size)
