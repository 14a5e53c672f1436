"""One request to the API."""

import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .account import Account
from .cache import VersionedCache

_NUMBER = re.compile(r"/\d+(?=/|$)")


@dataclass(frozen=True, kw_only=True)
class ApiRequest:
    """A request below /api/v1, its `path` without `.json`."""

    account: Account
    method: str
    path: str
    query: dict[str, str]
    body: bytes = b""
    content_type: str = ""
    selections: VersionedCache[list[str]] = field(default_factory=lambda: VersionedCache(32))

    @property
    def pattern(self) -> str:
        """The request's path with `{id}` for each number."""
        return _NUMBER.sub("/{id}", self.path)

    @property
    def id(self) -> str:
        """The first number of the request's path, without leading zeros; empty if there is none."""
        found = _NUMBER.search(self.path)
        return str(int(found.group()[1:])) if found else ""

    def select_ids(self, name: str, make: Callable[[], list[str]]) -> list[str]:
        """Return the ids that the request's query selects, cached until the account changes."""
        page = ("page", "per_page", "limit", "offset", "include", "optional_fields")
        filters = sorted((k, v) for k, v in self.query.items() if k not in page)
        key = (name, *filters)
        version = self.account.version
        ids = self.selections.get(version, key)
        return ids if ids is not None else self.selections.put(version, key, make())
