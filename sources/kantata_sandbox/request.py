"""One API request, and what is kept between requests while the account stands still."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from .account import Account

_V = TypeVar("_V")

_NUMBER = re.compile(r"/\d+(?=/|$)")


class Kept(Generic[_V]):
    """A bounded memory of results that holds until the account changes; the oldest go first."""

    def __init__(self, limit: int, weight: Callable[[_V], int] = lambda value: 1) -> None:
        self._limit = limit
        self._weight = weight
        self._values: dict[object, _V] = {}
        self._version = -1
        self._used = 0

    def get(self, version: int, key: object) -> _V | None:
        """Give what is kept for this key of this version of the account."""
        if version != self._version:
            self._values.clear()
            self._version, self._used = version, 0
        return self._values.get(key)

    def put(self, version: int, key: object, value: _V) -> _V:
        """Keep a value, and give it back; one of an older version is not kept."""
        if version == self._version and key not in self._values:
            self._values[key] = value
            self._used += self._weight(value)
            while self._used > self._limit:
                oldest = next(iter(self._values))
                self._used -= self._weight(self._values.pop(oldest))
        return value


@dataclass(frozen=True)
class Call:
    """A request below /api/v1, its `path` without `.json`."""

    account: Account
    method: str
    path: str
    query: dict[str, str]
    body: bytes = b""
    content_type: str = ""
    selections: Kept[list[str]] = field(default_factory=lambda: Kept(32))

    @property
    def pattern(self) -> str:
        """The path with `{id}` for each number."""
        return _NUMBER.sub("/{id}", self.path)

    @property
    def id(self) -> str:
        """The first number of the path, without leading zeros; empty if there is none."""
        found = _NUMBER.search(self.path)
        return str(int(found.group()[1:])) if found else ""

    def selected(self, name: str, make: Callable[[], list[str]]) -> list[str]:
        """Give the ids a list query selects, kept until the account changes."""
        page = ("page", "per_page", "limit", "offset", "include", "optional_fields")
        filters = sorted((k, v) for k, v in self.query.items() if k not in page)
        key = (name, *filters)
        version = self.account.version
        found = self.selections.get(version, key)
        return found if found is not None else self.selections.put(version, key, make())
