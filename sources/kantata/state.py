"""What the source must know of the warehouse, handed in by the caller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa


class WarehouseState(Protocol):
    """What the warehouse holds."""

    @property
    def columns(self) -> Mapping[str, Mapping[str, str]]:
        """By table, the dlt type of each column."""

    def milestone_hashes(self, ids: Sequence[str] | None = None) -> Iterable[pa.RecordBatch]:
        """Batches as ``Register`` takes them, of these ids or of all."""

    def live_count(self) -> int:
        """Milestones marked neither as deleted nor as out of reach, rejected ones included."""

    def recent_ids(self, most: int) -> list[str]:
        """Some of them."""

    def row_hashes(self, table: str, key: str) -> Iterable[pa.RecordBatch]:
        """Key and ``row_hash`` of every row."""

    def open_rejects(self) -> Iterable[Mapping[str, Any]]:
        """Rows of ``rejected_records`` that are not resolved."""

    def last_values(
        self, table: str, key: str, ids: Sequence[str], columns: Sequence[str]
    ) -> pa.Table:
        """The rows of these ids: the key, then the columns."""

    def raw_records(self, ids: Sequence[str]) -> dict[str, str]:
        """The last record received of each milestone, by id, as JSON text."""

    def milestones_on_invoices(self, invoice_ids: Sequence[str]) -> list[str]:
        """Milestones on these invoices."""

    def draft_invoices(self) -> list[str]:
        """Invoices that are drafts, as far as is known."""

    def unlinked_invoices(self) -> list[str]:
        """Invoices whose last milestone left them after they were last read."""


class EmptyState:
    """An empty warehouse."""

    columns: Mapping[str, Mapping[str, str]] = {}

    def milestone_hashes(self, ids: Sequence[str] | None = None) -> Iterable[pa.RecordBatch]:
        """None."""
        return ()

    def live_count(self) -> int:
        """None."""
        return 0

    def recent_ids(self, most: int) -> list[str]:
        """None."""
        return []

    def row_hashes(self, table: str, key: str) -> Iterable[pa.RecordBatch]:
        """None."""
        return ()

    def open_rejects(self) -> Iterable[Mapping[str, Any]]:
        """None."""
        return ()

    def last_values(
        self, table: str, key: str, ids: Sequence[str], columns: Sequence[str]
    ) -> pa.Table:
        """No rows, with the columns asked for."""
        return pa.table({name: pa.array([], pa.string()) for name in (key, *columns)})

    def raw_records(self, ids: Sequence[str]) -> dict[str, str]:
        """None."""
        return {}

    def milestones_on_invoices(self, invoice_ids: Sequence[str]) -> list[str]:
        """None."""
        return []

    def draft_invoices(self) -> list[str]:
        """None."""
        return []

    def unlinked_invoices(self) -> list[str]:
        """None."""
        return []
