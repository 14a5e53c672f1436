"""Makes versions of milestones, each with the values its row had."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import orjson
import pyarrow as pa

from ..schema import MINOR_UNIT, VALUES, VERSIONS
from .conversion import arrow_type, table_of
from .fingerprint import OF_A_ROW, row_hash
from .milestone_index import DELETED, MilestoneIndex
from .records import ObservedRecord

Version = dict[str, Any]


class VersionBuilder:
    """Makes the next versions of milestones, without values.

    Args:
        index: What is known of each milestone; counts its versions.
    """

    def __init__(self, index: MilestoneIndex) -> None:
        self._index = index

    def of_record(self, observed: ObservedRecord, row_before: bytes) -> Version:
        """Make the next version of a milestone of the record that was read."""
        was_deleted = self._index.version_digest(observed.id, row_before) == DELETED
        return self._next(
            observed.id,
            at=observed.observed_at,
            change_type="restored" if was_deleted else "updated",
            raw=orjson.dumps(observed.record).decode(),
            content=observed.row_digest,
        )

    def of_deletions(
        self, ids: Iterable[str], at: datetime, raw_records: Mapping[str, str]
    ) -> list[Version]:
        """Make the versions of deleted milestones, except those that have theirs already."""
        index = self._index
        return [
            self._next(id_, at=at, change_type="deleted", raw=raw_records.get(id_), content=None)
            for id_ in ids
            if index.version_digest(id_, index.digest(index.position(id_))) != DELETED
        ]

    def of_rows(
        self, rows: Mapping[str, bytes], at: datetime, raw_records: Mapping[str, str]
    ) -> list[Version]:
        """Make versions of rows whose record was lost; the next read makes another version."""
        return [
            self._next(id_, at=at, change_type="updated", raw=raw_records.get(id_), content=content)
            | {"row_hash": OF_A_ROW + row_hash(content)}
            for id_, content in rows.items()
        ]

    def _next(
        self, id_: str, *, at: datetime, change_type: str, raw: str | None, content: bytes | None
    ) -> Version:
        """Make a milestone's next version, with the number that the index counts."""
        number = self._index.next_version(id_, self._index.position(id_))
        return {
            "id": id_,
            "version": number,
            "observed_at": at,
            # A milestone may be deleted before a crash let any version of it be loaded.
            "change_type": "created" if number == 1 and content else change_type,
            "row_hash": row_hash(content) if content else None,
            "raw": raw,
        }


def with_values(versions: list[Version], rows: pa.Table) -> pa.Table:
    """Add to versions of milestones the values their rows had.

    Args:
        versions: At least one, without values.
        rows: The row of each, in the same order.
    """
    table = table_of({name: VERSIONS[name] for name in versions[0]}, versions)
    for name in VALUES:
        table = table.append_column(name, rows.column(name))
    return table.append_column(
        MINOR_UNIT, pa.nulls(table.num_rows, arrow_type(VERSIONS[MINOR_UNIT]))
    )


def with_values_of(versions: list[Version], rows: Sequence[pa.Table]) -> pa.Table:
    """Add values to versions of milestones that were not read; null where there is no row.

    Args:
        versions: At least one, without values.
        rows: At least one table; each milestone's row is in one of them.
    """
    every_row = pa.concat_tables([table.select(["id", *VALUES]) for table in rows])
    positions = {id_: position for position, id_ in enumerate(every_row.column("id").to_pylist())}
    taken = pa.array([positions.get(version["id"]) for version in versions], pa.int64())
    return with_values(versions, every_row.take(taken))
