"""Columns of undeclared fields: their names, and their types by their first values."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

import pyarrow as pa

from ..schema import Kind, Table, columns_and_key, reserved_columns
from .conversion import Misfit, arrow_type, as_text, convert, kind_of
from .schema_drift import SchemaDrift

VARIANT = "__v_text"
FURTHER = "further_fields"  # the JSON of fields beyond the columns that a table may have
MOST_COLUMNS = 200  # of undeclared fields; Postgres and DuckDB fail with some hundreds more
_MOST_SHAPES = 1_000  # different sets of fields to remember
_PLAIN = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")


def column_name(field: str, reserved: frozenset[str]) -> str:
    """Return the name of the column that an undeclared field gets.

    A plain name stays. Any other name, and one that a column of ours has, gets a piece of its hash,
    so that two fields never share a column. The piece begins with a letter, since dlt would change
    a digit there.
    """
    if _PLAIN.fullmatch(field) and len(field) <= 50 and field not in reserved:
        return field
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", field).lower()
    plain = re.sub(r"[^a-z0-9]+", "_", snake).strip("_")[:40].strip("_")
    tail = hashlib.blake2b(field.encode(), digest_size=3).hexdigest()
    return f"{plain if plain[:1].isalpha() else 'field_' + plain}".strip("_") + f"__x{tail}"


class UndeclaredColumns:
    """The columns of one table's undeclared fields.

    Args:
        table: The table's declared columns.
        known_columns: Columns the warehouse has, with their dlt types, declared ones included.
        drift: Collects new columns.
    """

    def __init__(self, table: Table, known_columns: Mapping[str, str], drift: SchemaDrift) -> None:
        self._declared = table.columns
        self._reserved = reserved_columns(table.name)
        self._drift = drift
        ours = frozenset(columns_and_key(table.name)[0]) | self._reserved
        self.known = tuple(name for name in known_columns if name not in ours)
        self.kinds = {name: Kind(known_columns[name]) for name in self.known}
        self._columns_of: dict[tuple[str, ...], set[str]] = {}

    def column_name(self, field: str) -> str:
        """Return the name of this table's column for an undeclared field."""
        return FURTHER if self.is_further(field) else column_name(field, self._reserved)

    def is_further(self, field: str) -> bool:
        """Return whether an undeclared field gets no column any more, since there are so many."""
        is_full = len(self.kinds) >= MOST_COLUMNS
        return is_full and column_name(field, self._reserved) not in self.kinds

    def arrays(self, field: str, values: Sequence[object]) -> dict[str, pa.Array]:
        """Return an undeclared field's column, and its variant if a value does not fit."""
        name = field if field == FURTHER else self.column_name(field)
        kind = self.kinds.get(name)
        if kind is None:
            first = next((value for value in values if value is not None), None)
            if first is None:
                return {}  # a column has no type before its first value
            kind = self._add(name, kind_of(first))
        if kind is Kind.TEXT:
            return {name: pa.array([as_text(value) for value in values], pa.string())}
        array, misfits = _convert_undeclared(kind, values)
        if misfits or name + VARIANT in self.kinds:
            if name + VARIANT not in self.kinds:
                self._add(name + VARIANT, Kind.TEXT)
            texts = [as_text(v) if row in misfits else None for row, v in enumerate(values)]
            return {name: array, name + VARIANT: pa.array(texts, pa.string())}
        return {name: array}

    def _add(self, name: str, kind: Kind) -> Kind:
        """Add a new column of an undeclared field, and report it as new."""
        self._columns_of.clear()  # the next field may be one too many
        self.kinds[name] = self._drift.new_columns[name] = kind
        return kind

    def columns_of(self, fields: tuple[str, ...]) -> set[str]:
        """Return the columns of these fields, undeclared or declared, with possible variants."""
        if (columns := self._columns_of.get(fields)) is None:
            names = {f if f in self._declared else self.column_name(f) for f in fields}
            columns = self._columns_of[fields] = names | {name + VARIANT for name in names}
            if len(self._columns_of) > _MOST_SHAPES:
                self._columns_of.clear()
        return columns


def _convert_undeclared(kind: Kind, values: Sequence[object]) -> tuple[pa.Array, frozenset[int]]:
    """Return an undeclared field's values of exactly this type, and the numbers of other rows.

    Text that looks like a number stays text: no declaration says that it may be a number.
    """
    fitting: list[object] = []
    misfits: set[int] = set()
    for row, value in enumerate(values):
        try:
            if isinstance(value, str):
                raise Misfit("text")
            fitting.append(None if value is None else convert(kind, value))
        except Misfit:
            fitting.append(None)
            misfits.add(row)
    return pa.array(fitting, arrow_type(kind)), frozenset(misfits)
