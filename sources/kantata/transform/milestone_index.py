"""What is known of each milestone in one run: what the warehouse holds, and what was read.

A million milestones need about 200 MB: one dictionary of ids, and arrays.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator

import pyarrow as pa

from .fingerprint import DIGEST_BYTES, HASH_VERSION, OF_A_ROW

# In place of the digest of a milestone that is gone; no record has such a digest.
DELETED = b"deleted".rjust(DIGEST_BYTES, b"\0")
ACCESS_LOST = b"access lost".rjust(DIGEST_BYTES, b"\0")
_NO_DIGEST = bytes(DIGEST_BYTES)
_GONE = {"deleted": DELETED, "lost": ACCESS_LOST}
_UNREAD, _GOOD, _REJECTED = 0, 1, 2
_GROWTH = 65_536  # grow in steps, since array and bytearray grow by copying


def digest_of(text: str | None) -> bytes:
    """Parse a ``row_hash`` into the digest the index holds; empty for another hash version.

    ``deleted`` and ``lost`` are the digests of milestones marked so.
    """
    if text in _GONE:
        return _GONE[text]
    if not text or not text.startswith(HASH_VERSION):
        return b""
    return bytes.fromhex(text.removeprefix(HASH_VERSION))


class MilestoneIndex:
    """Milestones by id, each with its digest, version, links and amount.

    Args:
        rows: Batches of what the warehouse holds, with columns ``id``, ``row_hash``, ``version``
            (the last one, 0 for none), ``version_hash`` and ``links`` (ids of invoices, joined by
            commas). A hash may be ``deleted`` or ``lost`` instead.
    """

    def __init__(self, rows: Iterable[pa.RecordBatch]) -> None:
        self._positions: dict[str, int] = {}
        self._digests = bytearray()
        self._versions = array("I")
        self._links: list[str] = []
        self._shared_links: dict[str, str] = {"": ""}
        self._read_states = bytearray()
        self._read_at = array("q")
        self._amounts = array("q")
        self._currencies = array("H")
        self._currency_codes: dict[str, int] = {}
        self._other_versions: dict[str, bytes] = {}
        self._versioned_by_row: set[str] = set()  # whose last version was made of the current row
        for batch in rows:
            self._add_batch(batch)

    def _add_batch(self, batch: pa.RecordBatch) -> None:
        """Add a batch of what the warehouse holds to the index of milestones."""
        columns = ("id", "row_hash", "version", "version_hash", "links")
        for id_, row_hash, version, version_hash, links in zip(
            *(batch.column(name).to_pylist() for name in columns), strict=True
        ):
            position = self._add(id_)
            self.set_digest(position, digest_of(row_hash))
            self._versions[position] = version
            self.set_links(position, ",".join(sorted(links.split(","))) if "," in links else links)
            if row_hash != version_hash:
                self._other_versions[id_] = digest_of(version_hash)
            if row_hash and version_hash == OF_A_ROW + row_hash:
                self._versioned_by_row.add(id_)

    def _add(self, id_: str) -> int:
        """Add a milestone to the index, and return its position."""
        position = self._positions[id_] = len(self._positions)
        if position == len(self._read_states):
            self._digests.extend(bytes(DIGEST_BYTES * _GROWTH))
            self._read_states.extend(bytes(_GROWTH))
            for numbers in (self._versions, self._read_at, self._amounts, self._currencies):
                numbers.frombytes(bytes(numbers.itemsize * _GROWTH))
        self._links.append("")
        return position

    def position(self, id_: str) -> int:
        """Return a milestone's position in the index; one not known yet gets a new position."""
        position = self._positions.get(id_)
        return self._add(id_) if position is None else position

    def note_read(self, position: int, microsecond: int) -> bool:
        """Note in the index that a milestone was read; return whether this read is the latest."""
        if microsecond < self._read_at[position]:
            return False
        self._read_at[position] = microsecond
        return True

    def digest(self, position: int) -> bytes:
        """Return the indexed digest of a milestone's row; empty if it has none."""
        digest = bytes(self._digests[position * DIGEST_BYTES : (position + 1) * DIGEST_BYTES])
        return b"" if digest == _NO_DIGEST else digest

    def set_digest(self, position: int, digest: bytes) -> None:
        """Set the indexed digest of a milestone's row that is loaded or about to be."""
        content = digest or _NO_DIGEST
        self._digests[position * DIGEST_BYTES : (position + 1) * DIGEST_BYTES] = content

    def version_digest(self, id_: str, row_digest: bytes) -> bytes:
        """Return the indexed digest of the last version; a crash may leave it unlike the row's."""
        return self._other_versions.get(id_, row_digest)

    def missing_versions(self) -> dict[str, bytes]:
        """Return the indexed digests of live milestones whose version a crash lost, by id."""
        return {
            id_: row
            for id_, version in self._other_versions.items()
            if id_ not in self._versioned_by_row
            and (row := self.digest(self._positions[id_]))
            not in (b"", DELETED, ACCESS_LOST, version)
        }

    def next_version(self, id_: str, position: int) -> int:
        """Count a milestone's new version in the index, and return its number: 1, 2, 3."""
        self._other_versions.pop(id_, None)
        self._versions[position] += 1
        return self._versions[position]

    def links(self, position: int) -> str:
        """Return the indexed links of a milestone: ids of invoices, sorted, joined by commas."""
        return self._links[position]

    def set_links(self, position: int, links: str) -> None:
        """Set the indexed links of a milestone: ids of invoices, joined by commas."""
        self._links[position] = self._shared_links.setdefault(links, links)  # most are shared

    def count_good(self, position: int, amount: int, currency: str) -> None:
        """Count an accepted milestone in the index's totals, with its amount."""
        self._read_states[position] = _GOOD
        self._amounts[position] = amount
        self._currencies[position] = self._currency_codes.setdefault(
            currency, len(self._currency_codes)
        )

    def count_rejected(self, position: int) -> None:
        """Remove a milestone from the index's totals, since its last read was rejected."""
        self._read_states[position] = _REJECTED

    def totals(self) -> dict[str, tuple[int, int]]:
        """Return number and sum in minor units, by currency, of the milestones accepted."""
        counts, sums = [0] * len(self._currency_codes), [0] * len(self._currency_codes)
        for position in range(len(self._positions)):
            if self._read_states[position] == _GOOD:
                counts[self._currencies[position]] += 1
                sums[self._currencies[position]] += self._amounts[position]
        return {code: (counts[n], sums[n]) for code, n in self._currency_codes.items() if counts[n]}

    def has(self, id_: str) -> bool:
        """Return whether the index knows the milestone."""
        return id_ in self._positions

    def is_live(self, id_: str) -> bool:
        """Return whether the index has the milestone as neither deleted nor access lost."""
        position = self._positions.get(id_)
        return position is not None and self.digest(position) not in (b"", DELETED, ACCESS_LOST)

    def is_access_lost(self, id_: str) -> bool:
        """Return whether the index has the milestone as access lost."""
        return self.digest(self._positions[id_]) == ACCESS_LOST

    def unread(self) -> Iterator[str]:
        """Yield indexed milestones that this run did not read, except those recorded as deleted."""
        for id_, position in self._positions.items():
            if self._read_states[position] == _UNREAD:
                digest = self.digest(position)
                if digest != DELETED or self.version_digest(id_, digest) != DELETED:
                    yield id_

    def unproven(self) -> list[str]:
        """Return the ids of indexed live milestones that this run did not read, or rejected."""
        return [
            i
            for i, position in self._positions.items()
            if self._read_states[position] != _GOOD
            and self.digest(position) not in (DELETED, ACCESS_LOST)
        ]

    def ids(self) -> list[str]:
        """Return the ids of all milestones in the index."""
        return list(self._positions)
