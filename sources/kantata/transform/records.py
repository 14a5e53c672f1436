"""One record as it was read, and one that could not be typed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from ..api.envelope import Record
from .fingerprint import with_kept


@dataclass(frozen=True, slots=True)
class ObservedRecord:
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
