"""The order of a million milestones, kept while they are added and removed, without sorting again.

Each milestone is one integer: its second of creation in the high bits, its id in the low ones. Ties
are broken by the id, ascending and as a number, in both directions (API.md#sort-order).
"""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator

_ID_BITS = 48
_ID_MASK = (1 << _ID_BITS) - 1
_LATEST = 1 << 40  # a second far beyond any date: counts down for newest first


class CreationOrder:
    """The order of creation of ids, oldest first and newest first."""

    def __init__(self, born: Iterable[tuple[str, int]] = ()) -> None:
        pairs = [(int(id_), moment) for id_, moment in born]
        self._oldest = sorted((moment << _ID_BITS) | id_ for id_, moment in pairs)
        self._newest = sorted(((_LATEST - moment) << _ID_BITS) | id_ for id_, moment in pairs)

    def __len__(self) -> int:
        return len(self._oldest)

    def add(self, id_: str, moment: int) -> None:
        """Add an id to the order, created at `moment` (seconds since 1970)."""
        insort(self._oldest, (moment << _ID_BITS) | int(id_))
        insort(self._newest, ((_LATEST - moment) << _ID_BITS) | int(id_))

    def discard(self, id_: str, moment: int) -> None:
        """Remove an id from the order; `moment` must be the one it was added with."""
        for keys, high in ((self._oldest, moment), (self._newest, _LATEST - moment)):
            key = (high << _ID_BITS) | int(id_)
            place = bisect_left(keys, key)
            if place < len(keys) and keys[place] == key:
                del keys[place]

    def page(self, descending: bool, start: int, stop: int) -> list[str]:
        """Return the ids at positions `start` to `stop` of the order, without the one at `stop`."""
        keys = self._newest if descending else self._oldest
        return [str(key & _ID_MASK) for key in keys[start:stop]]

    def ids(self, descending: bool) -> Iterator[str]:
        """Return all ids in order of creation."""
        return (str(key & _ID_MASK) for key in (self._newest if descending else self._oldest))
