"""What the source must know of the warehouse, as plain values handed in by the caller."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from .records import LastValues


@dataclass(frozen=True)
class Known:
    """What the warehouse holds; as it is by default, nothing.

    Args:
        milestones: Batches as ``Register`` takes them.
        side_tables: By table, batches of its key and ``row_hash``.
        rejects: Rows of ``rejected_records`` that are not resolved.
        columns: By table, the dlt type of each column.
        last_values: Looks up rows, for fields absent from a record.
    """

    milestones: Iterable[pa.RecordBatch] = ()
    side_tables: Mapping[str, Iterable[pa.RecordBatch]] = field(default_factory=dict)
    rejects: Iterable[Mapping[str, Any]] = ()
    columns: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    last_values: LastValues | None = None
