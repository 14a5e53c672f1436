"""What is kept between requests while the account does not change."""

from collections.abc import Callable
from typing import Generic, TypeVar

_V = TypeVar("_V")


class VersionedCache(Generic[_V]):
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
