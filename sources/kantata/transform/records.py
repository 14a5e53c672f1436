"""One record as it was read, one that could not be typed, and the fields of many."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import chain
from operator import itemgetter
from typing import NamedTuple

from ..api.envelope import Record
from .fingerprint import with_kept


class ObservedRecord(NamedTuple):
    """One record as it was read, with the time when it was observed.

    Args:
        id: Its id, as ``results`` or the side-loaded map names it.
        record: All its fields.
        digest: Its content in 16 bytes.
        observed_at: When it was read, UTC.
        before: The digest of its row until now; empty if it has none.
        kept: Columns of absent fields whose last values were kept.
    """

    id: str
    record: Record
    digest: bytes
    observed_at: datetime
    before: bytes = b""
    kept: tuple[str, ...] = ()

    @property
    def row_digest(self) -> bytes:
        """The digest of the row made of this observed record."""
        return with_kept(self.digest, self.kept) if self.kept else self.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """An observed record that could not be typed, with the reason.

    Args:
        observed: The record.
        reason: Every field that does not fit its column, and why.
        absent_fields: Required fields it lacks.
    """

    observed: ObservedRecord
    reason: str
    absent_fields: tuple[str, ...]


def fields_of(records: Iterable[ObservedRecord]) -> list[str]:
    """Return the names of all fields that any of these observed records has."""
    shapes = dict.fromkeys(tuple(observed.record) for observed in records)
    return list(dict.fromkeys(chain.from_iterable(shapes)))


def values_of(
    records: Sequence[ObservedRecord], fields: Sequence[str]
) -> dict[str, Sequence[object]]:
    """Return the values of some fields in each observed record, by field; None where it is absent.

    Args:
        records: At least one record.
        fields: The names of the fields.
    """
    if len(fields) > 1:  # for one, the getter would return no tuple
        try:
            rows = map(itemgetter(*fields), (observed.record for observed in records))
            return dict(zip(fields, zip(*rows, strict=True), strict=True))
        except KeyError:  # not every record has every field
            pass
    return {name: [observed.record.get(name) for observed in records] for name in fields}
