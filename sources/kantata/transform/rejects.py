"""Records that cannot be typed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa

from ..report import RejectedRecord
from ..schema import REJECTS
from .conversion import table_of
from .fingerprint import row_hash
from .records import Reject


class Rejects:
    """Records that cannot be typed, told once for each content until they are good again.

    Args:
        open_rejects: Rows of ``rejected_records`` that are not resolved.
    """

    def __init__(self, open_rejects: Iterable[Mapping[str, Any]]) -> None:
        self._open: dict[tuple[str, str], dict[str, Any]] = {}
        self._buffer: list[dict[str, Any]] = []
        for row in open_rejects:
            self._open[row["table_name"], row["id"]] = dict(row)

    def resolve(self, table: str, id_: str, observed_at: datetime) -> None:
        """A record was read that can be typed, or is gone: what was open of it is resolved."""
        if self._open and (row := self._open.pop((table, storable(id_)), None)):
            self._buffer.append(row | {"observed_at": observed_at, "resolved_at": observed_at})

    def add(self, table: str, reject: Reject) -> None:
        """A record was read that cannot be typed."""
        observed, key = reject.observed, (table, storable(reject.observed.id))
        if self._open.get(key, {}).get("row_hash") == row_hash(observed.digest):
            return
        self.resolve(table, observed.id, observed.observed_at)
        self._open[key] = {
            "table_name": table,
            "id": key[1],
            "row_hash": row_hash(observed.digest),
            "reason": reject.reason,
            "raw": orjson.dumps(observed.record, default=str).decode(),
            "observed_at": observed.observed_at,
            "resolved_at": None,
        }
        self._buffer.append(self._open[key])

    def is_open(self, table: str, id_: str) -> bool:
        """Whether the last content read of a record could not be typed."""
        return (table, storable(id_)) in self._open

    def open_ids(self, table: str) -> set[str]:
        """Ids of this table that are open, as ``storable`` gives them."""
        return {id_ for name, id_ in self._open if name == table}

    def tables(self) -> set[str]:
        """The tables of which something is open."""
        return {name for name, _ in self._open}

    def open(self) -> list[RejectedRecord]:
        """All that is open."""
        return [
            RejectedRecord(table, id_, row["reason"]) for (table, id_), row in self._open.items()
        ]

    def flush(self) -> Iterator[tuple[str, pa.Table]]:
        """The rows to load."""
        if self._buffer:
            yield "rejected_records", table_of(REJECTS, self._buffer)
            self._buffer = []


def storable(id_: str) -> str:
    """An id as a database can keep it."""
    return id_.replace("\0", "\ufffd")
