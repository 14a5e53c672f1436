"""Records become rows: content hash, typed Arrow tables, new fields, rejects.

A record that cannot be converted exactly is rejected whole, with its reason: an amount never
becomes NULL or a rounded number. A field nobody declared gets a column of the type of its first
value; a later value that does not fit goes to ``<column>__v_text``, so nothing is lost.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import orjson
import pyarrow as pa

from .envelope import Record
from .settings import BILLING_MILESTONES, GONE_COLUMNS, Kind, Table, loaded, reserved
from .values import Misfit, arrow_type, as_text, column, exact, kind_of

HASH_VERSION = "1:"  # so that a later release can tell its hashes from these
VARIANT = "__v_text"
DIGEST_BYTES = 16
_PLAIN = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")

LastValues = Callable[[str, str, Sequence[str], Sequence[str]], pa.Table]
"""Table, its key, ids and columns -> the rows the warehouse holds: the key, then the columns."""


def digest(record: Record) -> bytes:
    """The content of a record in 16 bytes: nulls left out, lists of ids sorted, keys sorted."""
    content = {name: value for name, value in record.items() if value is not None}
    for name, value in content.items():
        if type(value) is list and len(value) > 1 and name.endswith("_ids"):
            content[name] = sorted(value, key=str)
    canonical = orjson.dumps(content, default=str, option=orjson.OPT_SORT_KEYS)
    return hashlib.blake2b(canonical, digest_size=DIGEST_BYTES).digest()


def row_hash(content: bytes) -> str:
    """A digest as ``row_hash`` holds it."""
    return HASH_VERSION + content.hex()


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
class Read:
    """One record as it was read.

    Args:
        id: Its id, as ``results`` or the side-load's map names it.
        record: All its fields.
        digest: Its content in 16 bytes.
        observed_at: When it was read, UTC.
        before: The digest that was known of it until now, empty if none.
    """

    id: str
    record: Record
    digest: bytes
    observed_at: datetime
    before: bytes = b""


@dataclass(frozen=True, slots=True)
class Reject:
    """A record that could not be typed.

    Args:
        read: The record.
        reason: Every field that does not fit, and why.
        lacks: Required fields it lacks.
    """

    read: Read
    reason: str
    lacks: tuple[str, ...]


class Rows:
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
        self._taken = reserved(table.name)
        self._last_values = last_values
        ours = frozenset(loaded(table.name)[0]) | self._taken
        self._kept = [name for name in known_columns if name not in ours]
        self._kinds = {name: Kind(known_columns[name]) for name in self._kept}

    def build(self, reads: list[Read]) -> tuple[pa.Table | None, list[Read], list[Reject]]:
        """Type these records.

        Returns:
            The rows (None if none are good), the records they are of, and the rejects.
        """
        declared, reasons, lacks = self._declared(reads)
        if not reasons:
            return (self._complete(reads, declared) if reads else None), reads, []
        good = [read for row, read in enumerate(reads) if row not in reasons]
        rejects = [
            Reject(reads[row], "; ".join(why), lacks.get(row, ())) for row, why in reasons.items()
        ]
        table, good, more = self.build(good)
        return table, good, rejects + more

    def _declared(
        self, reads: list[Read]
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
                        reasons.setdefault(row, []).append(f"{name} is not {reads[row].id}")
                values = [read.id for read in reads]
            arrays[name], misfits = column(kind, values)
            for row, why in misfits.items():
                reasons.setdefault(row, []).append(f"{name}: {why}")
        return arrays, reasons, lacks

    def _complete(self, reads: list[Read], arrays: dict[str, pa.Array]) -> pa.Table:
        fields = {field: None for read in reads for field in read.record}
        for field in (field for field in fields if field not in self.table.columns):
            arrays |= self._undeclared(field, [read.record.get(field) for read in reads])
        self._keep_absent(reads, arrays)
        arrays["row_hash"] = pa.array([row_hash(read.digest) for read in reads])
        arrays["observed_at"] = _times([read.observed_at for read in reads])
        return pa.table(arrays | self._gone(len(reads)))

    def _gone(self, rows: int) -> dict[str, pa.Array]:
        """What tells that a milestone is gone; null in the row of one that was read."""
        columns = GONE_COLUMNS if self.table is BILLING_MILESTONES else {}
        return dict.fromkeys(columns, _times([None] * rows))

    def marked(
        self, ids: Sequence[str], column: str, at: datetime, raws: Mapping[str, str]
    ) -> Iterator[pa.Table]:
        """The rows the warehouse holds of these ids, with a time in one of ``GONE_COLUMNS``.

        A row that a crash kept from being loaded is made of the record as received, in ``raws``.
        """
        if self._last_values is None:
            return
        kinds = self.table.columns | self._kinds | {"row_hash": Kind.TEXT}
        del kinds[self.table.key]
        held = self._last_values(self.table.name, self.table.key, ids, list(kinds))
        arrays = {self.table.key: held.column(self.table.key).cast(pa.string())}
        for name, kind in kinds.items():
            arrays[name] = pa.array(held.column(name).to_pylist(), arrow_type(kind))
        yield _with_time(
            pa.table(
                arrays | {"observed_at": _times([at] * held.num_rows)} | self._gone(held.num_rows)
            ),
            column,
            at,
        )
        unheld = raws.keys() & (set(ids) - set(arrays[self.table.key].to_pylist()))
        records = {id_: orjson.loads(raws[id_]) for id_ in sorted(unheld)}
        reads = [Read(id_, record, digest(record), at) for id_, record in records.items()]
        table, _, _ = self.build(reads)
        if table is not None:
            yield _with_time(table, column, at)

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

    def _keep_absent(self, reads: list[Read], arrays: dict[str, pa.Array]) -> None:
        """Give absent fields the values the warehouse holds: absent is not null."""
        lacks = self._lacking(reads)
        self.absent |= {name for name in lacks if not name.endswith(VARIANT)}
        if not lacks or self._last_values is None:
            return
        ids = sorted({reads[row].id for rows in lacks.values() for row in rows})
        last = self._last_values(self.table.name, self.table.key, ids, list(lacks))
        place = {key: n for n, key in enumerate(last.column(self.table.key).to_pylist())}
        for name, rows in lacks.items():
            values = arrays[name].to_pylist() if name in arrays else [None] * len(reads)
            held = last.column(name).to_pylist()
            for row in rows:
                if (n := place.get(reads[row].id)) is not None:
                    values[row] = held[n]
            kind = self.table.columns.get(name) or self._kinds[name]
            arrays[name] = pa.array(values, arrow_type(kind))

    def _lacking(self, reads: list[Read]) -> dict[str, list[int]]:
        """The rows whose record lacks the field of a column, by column."""
        shapes = [tuple(read.record) for read in reads]
        has = {shape: self._columns_of(shape) for shape in set(shapes)}
        lacks = {
            name: [r for r, s in enumerate(shapes) if name.removesuffix(VARIANT) not in has[s]]
            for name in (*self.table.columns, *self._kept)
            if any(name.removesuffix(VARIANT) not in columns for columns in has.values())
        }
        lacks.pop(self.table.key, None)  # it is taken from where the record was found
        return lacks

    def _columns_of(self, fields: tuple[str, ...]) -> set[str]:
        declared = self.table.columns
        return {f if f in declared else column_name(f, self._taken) for f in fields}


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
            fitting.append(None if value is None else exact(kind, value))
        except Misfit:
            fitting.append(None)
            misfits.add(row)
    return pa.array(fitting, arrow_type(kind)), frozenset(misfits)


def _with_time(table: pa.Table, column: str, at: datetime) -> pa.Table:
    times = _times([at] * table.num_rows)
    return table.set_column(table.schema.get_field_index(column), column, times)


def _times(values: Sequence[datetime | None]) -> pa.Array:
    return pa.array(values, arrow_type(Kind.TIMESTAMP))


def _absence(absent: bool) -> str:
    return "missing" if absent else "null"
