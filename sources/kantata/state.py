"""What the source needs to know of the warehouse: a protocol, implemented by the caller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa


class WarehouseState(Protocol):
    """What the warehouse holds."""

    @property
    def columns(self) -> Mapping[str, Mapping[str, str]]:
        """The dlt type of each column, by table."""

    def milestone_hashes(self, ids: Sequence[str] | None = None) -> Iterable[pa.RecordBatch]:
        """Yield hashes, versions and links of these milestones, or of all, for the index."""

    def live_count(self) -> int:
        """Count the milestones not marked as deleted or access lost, rejected ones included."""

    def recent_ids(self, most: int) -> list[str]:
        """Return the ids of some live milestones, those read last."""

    def row_hashes(self, table: str, key: str) -> Iterable[pa.RecordBatch]:
        """Yield the key and the ``row_hash`` of every row of a table."""

    def open_rejects(self) -> Iterable[Mapping[str, Any]]:
        """Return the rows of ``rejected_records`` that are not resolved."""

    def last_values(
        self, table: str, key: str, ids: Sequence[str], columns: Sequence[str]
    ) -> pa.Table:
        """Return the rows of these ids: the key, then the columns."""

    def raw_records(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the last record received of each milestone, by id, as JSON text."""

    def milestones_on_invoices(self, invoice_ids: Sequence[str]) -> list[str]:
        """Return the ids of the milestones on these invoices."""

    def draft_invoices(self) -> list[str]:
        """Return the ids of invoices that were drafts when they were last read."""

    def unlinked_invoices(self) -> list[str]:
        """Return the ids of invoices that lost their last milestone after they were last read."""


class EmptyState:
    """The state of an empty warehouse."""

    columns: Mapping[str, Mapping[str, str]] = {}

    def milestone_hashes(self, ids: Sequence[str] | None = None) -> Iterable[pa.RecordBatch]:
        """Yield nothing."""
        return ()

    def live_count(self) -> int:
        """Return 0."""
        return 0

    def recent_ids(self, most: int) -> list[str]:
        """Return no ids."""
        return []

    def row_hashes(self, table: str, key: str) -> Iterable[pa.RecordBatch]:
        """Yield nothing."""
        return ()

    def open_rejects(self) -> Iterable[Mapping[str, Any]]:
        """Return no rows."""
        return ()

    def last_values(
        self, table: str, key: str, ids: Sequence[str], columns: Sequence[str]
    ) -> pa.Table:
        """Return no rows, with the columns asked for."""
        return pa.table({name: pa.array([], pa.string()) for name in (key, *columns)})

    def raw_records(self, ids: Sequence[str]) -> dict[str, str]:
        """Return no records."""
        return {}

    def milestones_on_invoices(self, invoice_ids: Sequence[str]) -> list[str]:
        """Return no ids."""
        return []

    def draft_invoices(self) -> list[str]:
        """Return no ids."""
        return []

    def unlinked_invoices(self) -> list[str]:
        """Return no ids."""
        return []
