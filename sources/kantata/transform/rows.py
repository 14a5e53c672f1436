"""Records become rows: typed Arrow tables, new fields, last values of absent ones, rejects.

A record that cannot be converted exactly is rejected whole, with its reason: an amount never
becomes NULL or a rounded number. A field nobody declared gets a column of the type of its first
value; a later value that does not fit goes to ``<column>__v_text``, so nothing is lost.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import orjson
import pyarrow as pa

from ..api.envelope import Record
from ..schema import (
    BILLING_MILESTONES,
    GONE_COLUMNS,
    Kind,
    Table,
    columns_and_key,
    reserved_columns,
)
from ..state import EmptyState
from . import nested_drift
from .conversion import Misfit, arrow_type, as_text, column, convert, kind_of, shown
from .fingerprint import digest, mark, row_hash, with_kept, xor

VARIANT = "__v_text"
_MOST_SHAPES = 1_000  # different sets of fields to remember
_PLAIN = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

LastValues = Callable[[str, str, Sequence[str], Sequence[str]], pa.Table]
"""Table, its key, ids and columns -> the rows the warehouse holds: the key, then the columns."""


def column_name(field: str, taken: frozenset[str]) -> str:
    """The column of a field nobody declared.

    A plain name stays. Any other, and one that a column of ours has, gets a piece of its hash,
    so that two fields never meet in one column. The piece begins with a letter, since dlt would
    change one that begins with a digit.
    """
    if _PLAIN.fullmatch(field) and len(field) <= 50 and field not in taken:
        return field
    snake = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", field).lower()
    plain = re.sub(r"[^a-z0-9]+", "_", snake).strip("_")[:40].strip("_")
    tail = hashlib.blake2b(field.encode(), digest_size=3).hexdigest()
    return f"{plain if plain[:1].isalpha() else 'field_' + plain}".strip("_") + f"__x{tail}"


@dataclass(frozen=True, slots=True)
class ObservedRecord:
    """One record as it was read.

    Args:
        id: Its id, as ``results`` or the side-load's map names it.
        record: All its fields.
        digest: Its content in 16 bytes.
        observed_at: When it was read, UTC.
        before: What was known of its row until now, empty if nothing.
        kept: Columns of fields it lacks that kept the values the warehouse holds.
    """

    id: str
    record: Record
    digest: bytes
    observed_at: datetime
    before: bytes = b""
    kept: tuple[str, ...] = ()

    @property
    def row(self) -> bytes:
        """What stands for its row."""
        return with_kept(self.digest, self.kept) if self.kept else self.digest


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that could not be typed.

    Args:
        read: The record.
        reason: Every field that does not fit, and why.
        lacks: Required fields it lacks.
    """

    read: ObservedRecord
    reason: str
    lacks: tuple[str, ...]


class RowBuilder:
    """Makes rows of one table.

    Args:
        table: What is declared of it.
        known_columns: Columns the warehouse has, with their dlt types, declared ones included.
        last_values: Looks up what the warehouse holds, for fields absent from a record.
    """

    def __init__(
        self,
        table: Table,
        known_columns: Mapping[str, str],
        last_values: LastValues | None = None,
    ) -> None:
        self.table = table
        self.new_columns: dict[str, Kind] = {}
        self.absent: set[str] = set()
        self.nested: list[str] = []
        self.watched: set[str] = set()  # columns whose fields were missing before
        self.lacked: set[str] | None = None  # those of them that are again; None before any record
        self._taken = reserved_columns(table.name)
        self._last_values = last_values
        ours = frozenset(columns_and_key(table.name)[0]) | self._taken
        self._kept = [name for name in known_columns if name not in ours]
        self._kinds = {name: Kind(known_columns[name]) for name in self._kept}
        self._marks: dict[bytes, tuple[str, ...]] = {}
        self._shapes: dict[tuple[str, ...], set[str]] = {}

    def watch(self, records: Iterable[Record]) -> None:
        """Note whether fields that were missing before are there again."""
        if self.watched:
            for record in records:
                self.lacked = (self.lacked or set()) | (self.watched - self._has(tuple(record)))

    def is_same(self, record: Record, content: bytes, row: bytes) -> bool:
        """Whether a row holds what the record tells, and last values of fields it lacks.

        False may mean that it is not known yet: ``build`` finds out.

        Args:
            record: The record.
            content: Its digest.
            row: What stands for the row.
        """
        if content == row or not row or not self._marks:
            return content == row
        kept = self._marks.get(xor(content, row))
        return kept is not None and self._has(tuple(record)).isdisjoint(kept)

    def build(
        self, reads: list[ObservedRecord]
    ) -> tuple[pa.Table | None, list[ObservedRecord], list[Reject]]:
        """Type these records.

        Returns:
            The rows (None if none are good), the records they are of in the same order, and the
            rejects.
        """
        declared, reasons, lacks = self._declared(reads)
        if not reasons:
            return *(self._complete(list(reads), declared) if reads else (None, [])), []
        good = [read for row, read in enumerate(reads) if row not in reasons]
        rejects = [
            Reject(reads[row], "; ".join(why), lacks.get(row, ())) for row, why in reasons.items()
        ]
        table, good, more = self.build(good)
        return table, good, rejects + more

    def _declared(
        self, reads: list[ObservedRecord]
    ) -> tuple[dict[str, pa.Array], dict[int, list[str]], dict[int, tuple[str, ...]]]:
        """Declared columns, what does not fit by row, and required fields lacking by row."""
        arrays: dict[str, pa.Array] = {}
        reasons: dict[int, list[str]] = {}
        lacks: dict[int, tuple[str, ...]] = {}
        for name, kind in self.table.columns.items():
            values = [read.record.get(name) for read in reads]
            if name in self.table.required:
                for row in (row for row, value in enumerate(values) if value is None):
                    absent = name not in reads[row].record
                    reasons.setdefault(row, []).append(f"{name} is {_absence(absent)}")
                    lacks[row] = lacks.get(row, ()) + ((name,) if absent else ())
            if name == self.table.key:
                for row, value in enumerate(values):
                    if value is not None and str(value) != reads[row].id:
                        reasons.setdefault(row, []).append(f"{name} is not {shown(reads[row].id)}")
                values = [read.id for read in reads]
            arrays[name], misfits = column(kind, values)
            for row, why in misfits.items():
                reasons.setdefault(row, []).append(f"{name}: {why}")
        return arrays, reasons, lacks

    def _complete(
        self, reads: list[ObservedRecord], arrays: dict[str, pa.Array]
    ) -> tuple[pa.Table, list[ObservedRecord]]:
        fields = {field: None for read in reads for field in read.record}
        for field in (field for field in fields if field not in self.table.columns):
            arrays |= self._undeclared(field, [read.record.get(field) for read in reads])
        self._look_within(reads)
        kept = self._keep_absent(reads, arrays)
        for row, names in kept.items():
            self._marks.setdefault(mark(names), tuple(names))
            reads[row] = replace(reads[row], kept=tuple(names))
        arrays["row_hash"] = pa.array([row_hash(read.row) for read in reads])
        arrays["observed_at"] = _times([read.observed_at for read in reads])
        return pa.table(arrays | self._gone(len(reads))), reads

    def _look_within(self, reads: list[ObservedRecord]) -> None:
        """Note what is new within objects, compared with the same rows as they are held."""
        some = [read for read in reads if read.before][: nested_drift.ROWS_LOOKED_AT]
        objects = {
            field: column_name(field, self._taken)
            for read in some
            for field, value in read.record.items()
            if type(value) is dict and field not in self.table.columns
        }
        objects = {field: name for field, name in objects.items() if name in self._kept}
        if objects and self._last_values is not None:
            ids, columns = [read.id for read in some], sorted(objects.values())
            held = self._last_values(self.table.name, self.table.key, ids, columns)
            for field, name in objects.items():
                texts = [text for text in held.column(name).to_pylist() if text is not None]
                if texts:
                    self.nested += nested_drift.nested_changes(
                        name, texts, [r.record.get(field) for r in some]
                    )

    def _gone(self, rows: int) -> dict[str, pa.Array]:
        """What tells that a milestone is gone; null in the row of one that was read."""
        columns = GONE_COLUMNS if self.table is BILLING_MILESTONES else {}
        return dict.fromkeys(columns, _times([None] * rows))

    def last(self, ids: Sequence[str], at: datetime, raws: Mapping[str, str]) -> list[pa.Table]:
        """The rows the warehouse holds of these ids, as if read now.

        A row that a crash kept from being loaded is made of the record as received, in ``raws``.
        """
        held = self.held(ids, at)
        unheld = raws.keys() & (set(ids) - set(held.column(self.table.key).to_pylist()))
        records = {id_: orjson.loads(raws[id_]) for id_ in sorted(unheld)}
        reads = [ObservedRecord(id_, record, digest(record), at) for id_, record in records.items()]
        table, _, _ = self.build(reads)
        return [held] if table is None else [held, table]

    def held(self, ids: Sequence[str], at: datetime, **texts: str) -> pa.Table:
        """The rows the warehouse holds of these ids, as if read now, some texts in them changed."""
        kinds = self.table.columns | self._kinds | {"row_hash": Kind.TEXT}
        del kinds[self.table.key]
        read = self._last_values or EmptyState().last_values
        held = read(self.table.name, self.table.key, ids, list(kinds))
        arrays = {self.table.key: held.column(self.table.key).cast(pa.string())}
        for name, kind in kinds.items():
            values = held.column(name).to_pylist()
            arrays[name] = pa.array([texts.get(name, v) for v in values], arrow_type(kind))
        rows = held.num_rows
        return pa.table(arrays | {"observed_at": _times([at] * rows)} | self._gone(rows))

    def records(self, ids: Sequence[str]) -> dict[str, Record]:
        """What the warehouse holds of these ids, as a record of Kantata's would tell it.

        A null is told only of declared fields: of others nobody knows whether they were absent.
        """
        if not ids or self._last_values is None:
            return {}
        kinds = {**self.table.columns, **self._kinds}
        texts = {name for name, kind in kinds.items() if kind in (Kind.JSON, Kind.IDS)}
        names = [name for name in kinds if name != self.table.key]
        held = self._last_values(self.table.name, self.table.key, ids, names).to_pylist()
        return {
            row[self.table.key]: {
                name: orjson.loads(value) if value and name in texts else value
                for name, value in row.items()
                if value is not None or name in self.table.columns
            }
            for row in held
        }

    def _undeclared(self, field: str, values: list[object]) -> dict[str, pa.Array]:
        """The column of a field nobody declared, and its variant if a value does not fit."""
        name = column_name(field, self._taken)
        kind = self._kinds.get(name)
        if kind is None:
            first = next((value for value in values if value is not None), None)
            if first is None:
                return {}  # a column has no type before its first value
            kind = self._add(name, kind_of(first))
        if kind is Kind.TEXT:
            return {name: pa.array([as_text(value) for value in values], pa.string())}
        array, misfits = _undeclared_column(kind, values)
        if misfits or name + VARIANT in self._kinds:
            if name + VARIANT not in self._kinds:
                self._add(name + VARIANT, Kind.TEXT)
            texts = [as_text(v) if row in misfits else None for row, v in enumerate(values)]
            return {name: array, name + VARIANT: pa.array(texts, pa.string())}
        return {name: array}

    def _add(self, name: str, kind: Kind) -> Kind:
        self._kinds[name] = self.new_columns[name] = kind
        return kind

    def _keep_absent(
        self, reads: list[ObservedRecord], arrays: dict[str, pa.Array]
    ) -> dict[int, list[str]]:
        """Give absent fields the values the warehouse holds: absent is not null.

        Returns:
            By row, the columns that were given one.
        """
        kept: dict[int, list[str]] = {}
        lacks = self._lacking(reads)
        self.absent |= lacks.keys() & self.table.columns.keys()
        if not lacks or self._last_values is None:
            return kept
        ids = sorted({reads[row].id for rows in lacks.values() for row in rows})
        last = self._last_values(self.table.name, self.table.key, ids, list(lacks))
        position = {key: n for n, key in enumerate(last.column(self.table.key).to_pylist())}
        for name, rows in lacks.items():
            values = arrays[name].to_pylist() if name in arrays else [None] * len(reads)
            held = last.column(name).to_pylist()
            for row in rows:
                if (n := position.get(reads[row].id)) is not None and held[n] is not None:
                    values[row] = held[n]
                    kept.setdefault(row, []).append(name)
            kind = self.table.columns.get(name) or self._kinds[name]
            arrays[name] = pa.array(values, arrow_type(kind))
        # Not every record has a field that nobody declared: it is missing where it was.
        gone = {name for names in kept.values() for name in names}
        self.absent |= {name.removesuffix(VARIANT) for name in gone}
        return kept

    def _lacking(self, reads: list[ObservedRecord]) -> dict[str, list[int]]:
        """The rows whose record lacks the field of a column, by column."""
        shapes = [tuple(read.record) for read in reads]
        has = {shape: self._has(shape) for shape in set(shapes)}
        lacks = {
            name: [r for r, s in enumerate(shapes) if name not in has[s]]
            for name in (*self.table.columns, *self._kept)
            if any(name not in columns for columns in has.values())
        }
        lacks.pop(self.table.key, None)  # it is taken from where the record was found
        return lacks

    def _has(self, fields: tuple[str, ...]) -> set[str]:
        """The columns of these fields, their variants included."""
        if (has := self._shapes.get(fields)) is None:
            declared = self.table.columns
            columns = {f if f in declared else column_name(f, self._taken) for f in fields}
            has = self._shapes[fields] = columns | {name + VARIANT for name in columns}
            if len(self._shapes) > _MOST_SHAPES:
                self._shapes.clear()
        return has


def _undeclared_column(kind: Kind, values: list[object]) -> tuple[pa.Array, frozenset[int]]:
    """The values of exactly this type, and the rows whose value is of another.

    Text that looks like a number stays text: nobody declared that it may be one.
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


def _times(values: Sequence[datetime | None]) -> pa.Array:
    return pa.array(values, arrow_type(Kind.TIMESTAMP))


def _absence(absent: bool) -> str:
    return "missing" if absent else "null"
