"""Versions of milestones: each has the values its row had, so that no figure is read twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from ..schema import VALUES, VERSIONS
from .conversion import table_of


def with_values(versions: list[dict[str, Any]], rows: pa.Table) -> pa.Table:
    """Versions to load.

    Args:
        versions: At least one, without values.
        rows: The row of each, in the same order.
    """
    told = table_of({name: VERSIONS[name] for name in versions[0]}, versions)
    for name in VALUES:
        told = told.append_column(name, rows.column(name))
    return told


def with_values_of(versions: list[dict[str, Any]], rows: Sequence[pa.Table]) -> pa.Table:
    """Versions to load of milestones that were not read; values are null if there is no row.

    Args:
        versions: At least one, without values.
        rows: At least one table; each milestone's row is in one of them.
    """
    found = pa.concat_tables([table.select(["id", *VALUES]) for table in rows])
    positions = {id_: position for position, id_ in enumerate(found.column("id").to_pylist())}
    wanted = pa.array([positions.get(version["id"]) for version in versions], pa.int64())
    return with_values(versions, found.take(wanted))
