"""Converts declared columns: exact values, or the reasons why a record is rejected."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import pyarrow as pa

from ..api.lenient_json import UNREADABLE
from ..schema import Table
from .conversion import convert_column, shown
from .records import ObservedRecord, Reject, values_of


@dataclass
class DeclaredColumns:
    """The declared columns of some records.

    Args:
        arrays: Values by column, null where a value does not fit.
        reasons: What does not fit, by row number.
        absent_fields: Required fields that the record lacks, by row number.
    """

    arrays: dict[str, pa.Array] = field(default_factory=dict)
    reasons: dict[int, list[str]] = field(default_factory=dict)
    absent_fields: dict[int, tuple[str, ...]] = field(default_factory=dict)

    def rejects(self, records: Sequence[ObservedRecord]) -> list[Reject]:
        """Return the records that are rejected because a declared column does not fit."""
        return [
            Reject(
                observed=records[row],
                reason="; ".join(reasons),
                absent_fields=self.absent_fields.get(row, ()),
            )
            for row, reasons in self.reasons.items()
        ]

    def _add_reason(self, row: int, reason: str) -> None:
        """Add a reason why a record does not fit the declared columns."""
        self.reasons.setdefault(row, []).append(reason)

    def _require(
        self, name: str, values: Sequence[object], records: Sequence[ObservedRecord]
    ) -> None:
        """Add a reason for each record without a value in a required declared column."""
        if None not in values:
            return
        for row, value in enumerate(values):
            if value is None:
                is_absent = name not in records[row].record
                self._add_reason(row, f"{name} is {'missing' if is_absent else 'null'}")
                absent = (name,) if is_absent else ()
                self.absent_fields[row] = self.absent_fields.get(row, ()) + absent

    def _require_key(self, name: str, values: Sequence[object], ids: Sequence[str]) -> None:
        """Add a reason for each record whose declared key differs from the id it was listed by."""
        for row, (value, id_) in enumerate(zip(values, ids, strict=True)):
            if value is not None and str(value) != id_:
                self._add_reason(row, f"{name} is not {shown(id_)}")

    def add_unreadable(self, records: Sequence[ObservedRecord]) -> None:
        """Add the reason why a record could not be read exactly, declared columns or not."""
        for row, observed in enumerate(records):
            if UNREADABLE in observed.record:
                self._add_reason(row, str(observed.record[UNREADABLE]))

    def add(
        self,
        name: str,
        values: Sequence[object],
        table: Table,
        records: Sequence[ObservedRecord],
    ) -> None:
        """Convert one declared column, and add the reasons why records do not fit."""
        if name in table.required:
            self._require(name, values, records)
        if name == table.key:
            ids = [observed.id for observed in records]
            self._require_key(name, values, ids)
            values = ids
        self.arrays[name], misfits = convert_column(table.columns[name], values)
        for row, reason in misfits.items():
            self._add_reason(row, f"{name}: {reason}")


def convert_declared(table: Table, records: Sequence[ObservedRecord]) -> DeclaredColumns:
    """Convert the declared columns of these records."""
    columns = DeclaredColumns()
    columns.add_unreadable(records)
    for name, values in values_of(records, tuple(table.columns)).items():
        columns.add(name, values, table, records)
    return columns
