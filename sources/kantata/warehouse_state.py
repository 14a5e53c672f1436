"""What the source needs to know of the warehouse: a protocol, implemented by the caller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import pyarrow as pa


class WarehouseState(Protocol):
    """What the warehouse holds, as far as the source needs to know."""

    @property
    def columns(self) -> Mapping[str, Mapping[str, str]]:
        """The dlt type of each column the warehouse has, by table."""

    def milestone_hashes(self, ids: Sequence[str] | None = None) -> Iterable[pa.RecordBatch]:
        """Yield the warehouse's hashes, versions and links of these milestones, or of all."""

    def live_count(self) -> int:
        """Count the warehouse's milestones not deleted or access lost, rejected ones included."""

    def recent_ids(self, most: int) -> list[str]:
        """Return the ids of some live milestones of the warehouse, those read last."""

    def row_hashes(self, table: str, key: str) -> Iterable[pa.RecordBatch]:
        """Yield the key and the ``row_hash`` of every row of a table of the warehouse."""

    def open_rejects(self) -> Iterable[Mapping[str, Any]]:
        """Return the rows of the warehouse's ``rejected_records`` that are not resolved."""

    def last_values(
        self, table: str, key: str, ids: Sequence[str], columns: Sequence[str]
    ) -> pa.Table:
        """Return the warehouse's rows of these ids: the key, then the columns."""

    def raw_records(self, ids: Sequence[str]) -> dict[str, str]:
        """Return the warehouse's last record received of each milestone, by id, as JSON text."""

    def milestones_on_invoices(self, invoice_ids: Sequence[str]) -> list[str]:
        """Return the ids of the milestones that the warehouse has on these invoices."""

    def draft_invoices(self) -> list[str]:
        """Return the ids of the warehouse's invoices that were drafts when last read."""

    def unlinked_invoices(self) -> list[str]:
        """Return the ids of invoices that lost their last milestone after they were last read."""


class EmptyState:
    """The state of an empty warehouse."""

    columns: Mapping[str, Mapping[str, str]] = {}

    def milestone_hashes(self, ids: Sequence[str] | None = None) -> Iterable[pa.RecordBatch]:
        """Yield no hashes: the warehouse is empty."""
        return ()

    def live_count(self) -> int:
        """Return 0: the warehouse is empty."""
        return 0

    def recent_ids(self, most: int) -> list[str]:
        """Return no ids of milestones: the warehouse is empty."""
        return []

    def row_hashes(self, table: str, key: str) -> Iterable[pa.RecordBatch]:
        """Yield no hashes of rows: the warehouse is empty."""
        return ()

    def open_rejects(self) -> Iterable[Mapping[str, Any]]:
        """Return no open rejects: the warehouse is empty."""
        return ()

    def last_values(
        self, table: str, key: str, ids: Sequence[str], columns: Sequence[str]
    ) -> pa.Table:
        """Return no rows, with the columns requested: the warehouse is empty."""
        return pa.table({name: pa.array([], pa.string()) for name in (key, *columns)})

    def raw_records(self, ids: Sequence[str]) -> dict[str, str]:
        """Return no records: the warehouse is empty."""
        return {}

    def milestones_on_invoices(self, invoice_ids: Sequence[str]) -> list[str]:
        """Return no milestones on invoices: the warehouse is empty."""
        return []

    def draft_invoices(self) -> list[str]:
        """Return no draft invoices: the warehouse is empty."""
        return []

    def unlinked_invoices(self) -> list[str]:
        """Return no unlinked invoices: the warehouse is empty."""
        return []
