"""Keeps records that cannot be typed: opened once for each content, and resolved later."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa

from ..api.lenient_json import UNREADABLE
from ..report import RejectedRecord
from ..schema import REJECTS
from .conversion import table_of
from .fingerprint import row_hash
from .records import Reject


class Rejects:
    """Records that cannot be typed, reported once for each content until they are resolved.

    Args:
        open_rejects: Rows of ``rejected_records`` that are not resolved.
    """

    def __init__(self, open_rejects: Iterable[Mapping[str, Any]]) -> None:
        self._open: dict[tuple[str, str], dict[str, Any]] = {}
        self._buffer: list[dict[str, Any]] = []
        for row in open_rejects:
            self._open[row["table_name"], row["id"]] = dict(row)

    def resolve(self, table: str, id_: str, observed_at: datetime) -> None:
        """Resolve a record's open reject, since it was read and typed, or no longer exists."""
        if self._open and (row := self._open.pop((table, storable(id_)), None)):
            self._buffer.append(row | {"observed_at": observed_at, "resolved_at": observed_at})

    def add(self, table: str, reject: Reject) -> None:
        """Add a reject of a record that cannot be typed, unless the same content has one."""
        observed, key = reject.observed, (table, storable(reject.observed.id))
        if self._open.get(key, {}).get("row_hash") == row_hash(observed.digest):
            return
        self.resolve(table, observed.id, observed.observed_at)
        self._open[key] = {
            "table_name": table,
            "id": key[1],
            "row_hash": row_hash(observed.digest),
            "reason": reject.reason,
            "raw": orjson.dumps(
                {name: v for name, v in observed.record.items() if name != UNREADABLE}, default=str
            ).decode(),
            "observed_at": observed.observed_at,
            "resolved_at": None,
        }
        self._buffer.append(self._open[key])

    def is_open(self, table: str, id_: str) -> bool:
        """Return whether a record has an open reject: its last content could not be typed."""
        return (table, storable(id_)) in self._open

    def open_ids(self, table: str) -> set[str]:
        """Return the ids of a table's open rejects, as ``storable`` writes them."""
        return {id_ for name, id_ in self._open if name == table}

    def tables(self) -> set[str]:
        """Return the names of the tables with open rejects."""
        return {name for name, _ in self._open}

    def open(self) -> list[RejectedRecord]:
        """Return all open rejects."""
        return [
            RejectedRecord(table, id_, row["reason"]) for (table, id_), row in self._open.items()
        ]

    def flush(self) -> Iterator[tuple[str, pa.Table]]:
        """Yield the rows of rejects that were opened or resolved."""
        if self._buffer:
            yield "rejected_records", table_of(REJECTS, self._buffer)
            self._buffer = []


def storable(id_: str) -> str:
    """Return a reject's id as a database can store it: without NUL characters."""
    return id_.replace("\0", "\ufffd")
