"""A cache of results that is valid until the account changes."""

from collections.abc import Callable
from typing import Generic, TypeVar

_V = TypeVar("_V")


class VersionedCache(Generic[_V]):
    """A bounded cache for one version of the account; the oldest values are dropped first."""

    def __init__(self, limit: int, weight: Callable[[_V], int] = lambda value: 1) -> None:
        self._limit = limit
        self._weight = weight
        self._values: dict[object, _V] = {}
        self._version = -1
        self._used = 0

    def get(self, version: int, key: object) -> _V | None:
        """Return the value cached for this key and version of the account, if any."""
        if version != self._version:
            self._values.clear()
            self._version, self._used = version, 0
        return self._values.get(key)

    def put(self, version: int, key: object, value: _V) -> _V:
        """Cache a value and return it; a value of an older version is not cached."""
        if version == self._version and key not in self._values:
            self._values[key] = value
            self._used += self._weight(value)
            while self._used > self._limit:
                oldest = next(iter(self._values))
                self._used -= self._weight(self._values.pop(oldest))
        return value
