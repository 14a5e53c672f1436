"""What is known of each milestone: what the warehouse holds, and what this run read of it.

A million milestones fit into some 200 MB: one dictionary of ids, and arrays beside it.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

import pyarrow as pa

from .fingerprint import DIGEST_BYTES, HASH_VERSION, OF_A_ROW

# What stands for the content of a milestone that is gone: no digest of a record is like these.
DELETED = b"deleted".rjust(DIGEST_BYTES, b"\0")
LOST = b"access lost".rjust(DIGEST_BYTES, b"\0")
_NO_DIGEST = bytes(DIGEST_BYTES)
_MARKS = {"deleted": DELETED, "lost": LOST}
_UNREAD, _GOOD, _REJECTED = 0, 1, 2
_ROWS_AT_ONCE = 65_536  # grow in steps, since array and bytearray grow by copying


def digest_of(text: str | None) -> bytes:
    """The digest in a ``row_hash``; empty if it is of another version, so that it never fits.

    ``deleted`` and ``lost`` stand for milestones marked so.
    """
    if text in _MARKS:
        return _MARKS[text]
    if not text or not text.startswith(HASH_VERSION):
        return b""
    return bytes.fromhex(text.removeprefix(HASH_VERSION))


class MilestoneIndex:
    """Milestones by id.

    Args:
        known: Batches of what the warehouse holds, with columns ``id``, ``row_hash``, ``version``
            (the last one, 0 for none), ``version_hash`` and ``links`` (ids of invoices, joined by
            commas). A hash may be ``deleted`` or ``lost`` instead.
    """

    def __init__(self, known: Iterable[pa.RecordBatch]) -> None:
        self._place: dict[str, int] = {}
        self._digests = bytearray()
        self._versions = array("I")
        self._links: list[str] = []
        self._texts: dict[str, str] = {"": ""}
        self._state = bytearray()
        self._read_at = array("q")
        self._amounts = array("q")
        self._currencies = array("H")
        self._codes: dict[str, int] = {}
        self._unversioned: dict[str, bytes] = {}
        self._of_rows: set[str] = set()  # whose last version was made of the row there is
        for batch in known:
            self._hold(batch)
        self.known = len(self._place)

    def _hold(self, batch: pa.RecordBatch) -> None:
        names = ("id", "row_hash", "version", "version_hash", "links")
        for id_, own, version, of_version, links in zip(
            *(batch.column(name).to_pylist() for name in names), strict=True
        ):
            position = self._add(id_)
            self.set_digest(position, digest_of(own))
            self._versions[position] = version
            self.set_links(position, ",".join(sorted(links.split(","))) if "," in links else links)
            if own != of_version:
                self._unversioned[id_] = digest_of(of_version)
            if own and of_version == OF_A_ROW + own:
                self._of_rows.add(id_)

    def _add(self, id_: str) -> int:
        position = self._place[id_] = len(self._place)
        if position == len(self._state):
            self._digests.extend(bytes(DIGEST_BYTES * _ROWS_AT_ONCE))
            self._state.extend(bytes(_ROWS_AT_ONCE))
            for numbers in (self._versions, self._read_at, self._amounts, self._currencies):
                numbers.frombytes(bytes(numbers.itemsize * _ROWS_AT_ONCE))
        self._links.append("")
        return position

    def position(self, id_: str) -> int:
        """The place of a milestone, a new one if it was not known."""
        position = self._place.get(id_)
        return self._add(id_) if position is None else position

    def is_latest(self, position: int, tick: int) -> bool:
        """Whether this read, at this microsecond, is the latest so far; it counts from now on."""
        if tick < self._read_at[position]:
            return False
        self._read_at[position] = tick
        return True

    def digest(self, position: int) -> bytes:
        """The content that is loaded or about to be; empty if none is."""
        held = bytes(self._digests[position * DIGEST_BYTES : (position + 1) * DIGEST_BYTES])
        return b"" if held == _NO_DIGEST else held

    def set_digest(self, position: int, digest: bytes) -> None:
        """Tell what is loaded, or about to be."""
        content = digest or _NO_DIGEST
        self._digests[position * DIGEST_BYTES : (position + 1) * DIGEST_BYTES] = content

    def versioned(self, id_: str, loaded: bytes) -> bytes:
        """The content of the last version, which may differ from what is loaded after a crash."""
        return self._unversioned.get(id_, loaded)

    def untold(self) -> dict[str, bytes]:
        """The content of live rows that no version tells, since a crash kept it back, by id."""
        return {
            id_: row
            for id_, version in self._unversioned.items()
            if id_ not in self._of_rows
            and (row := self.digest(self._place[id_])) not in (b"", DELETED, LOST, version)
        }

    def next_version(self, id_: str, position: int) -> int:
        """Count a version that is about to be loaded, and give its number: 1, 2, 3."""
        self._unversioned.pop(id_, None)
        self._versions[position] += 1
        return self._versions[position]

    def links(self, position: int) -> str:
        """Ids of the invoices it is linked to, sorted, joined by commas."""
        return self._links[position]

    def set_links(self, position: int, links: str) -> None:
        """Tell what it is linked to."""
        self._links[position] = self._texts.setdefault(links, links)  # most are shared

    def good(self, position: int, amount: int, currency: str) -> None:
        """Count a milestone that was read and is, or will be, in the warehouse."""
        self._state[position] = _GOOD
        self._amounts[position] = amount
        self._currencies[position] = self._codes.setdefault(currency, len(self._codes))

    def rejected(self, position: int) -> None:
        """Take a milestone out of the count, since its last read could not be typed."""
        self._state[position] = _REJECTED

    def totals(self) -> dict[str, tuple[int, int]]:
        """Milestones and their sum in subunits, by currency, of all that were read and good."""
        counts, sums = [0] * len(self._codes), [0] * len(self._codes)
        for position in range(len(self._place)):
            if self._state[position] == _GOOD:
                counts[self._currencies[position]] += 1
                sums[self._currencies[position]] += self._amounts[position]
        return {code: (counts[n], sums[n]) for code, n in self._codes.items() if counts[n]}

    def knows(self, id_: str) -> bool:
        """Whether there is a place for it."""
        return id_ in self._place

    def is_live(self, id_: str) -> bool:
        """Whether the warehouse shows it as neither deleted nor out of reach."""
        position = self._place.get(id_)
        return position is not None and self.digest(position) not in (b"", DELETED, LOST)

    def is_lost(self, id_: str) -> bool:
        """Whether the warehouse shows it as out of reach."""
        return self.digest(self._place[id_]) == LOST

    def unread(self) -> Iterator[str]:
        """Ids the warehouse holds that this run did not read, and that are not known as deleted."""
        for id_, position in self._place.items():
            if self._state[position] == _UNREAD:
                digest = self.digest(position)
                if digest != DELETED or self.versioned(id_, digest) != DELETED:
                    yield id_

    def unproven(self) -> list[str]:
        """Ids of live rows that say nothing of this run: not read, or rejected."""
        return [
            i
            for i, position in self._place.items()
            if self._state[position] != _GOOD and self.digest(position) not in (DELETED, LOST)
        ]

    def ids(self) -> list[str]:
        """Every id there is a place for."""
        return list(self._place)
