"""Strict conversion: a value becomes exactly what its column holds, or there is a reason why not.

Arrow alone is not enough: it rounds 1.5 into an integer column silently. So the types of a whole
column are checked first; only when they are not all as declared is each value converted by itself.

JSON is read with numbers of 64 bits: of a number in an undeclared field, whole digits beyond 2^64
and more than 17 digits of a fraction are lost. A number that large in a declared field is rejected.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from ..schema import Kind

_INT64 = 2**63
_EXACT_FLOAT = 2**53  # beyond it, JSON's whole numbers are rounded already
_TIME = re.compile(  # a subset of what Arrow accepts, with at most microseconds
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}(:[0-9]{2}(:[0-9]{2}(\.[0-9]{1,6}0*)?)?)?"
    r"(Z|[+-][0-9]{2}(:?[0-9]{2})?)?"
)
# The years 1 to 9999: Python can read back no others, though Arrow accepts them.
_CALENDAR = {
    Kind.DATE: (date.min, date.max),
    Kind.TIMESTAMP: (datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC)),
}

_ARROW: dict[Kind, pa.DataType] = {
    Kind.ID: pa.string(),
    Kind.TEXT: pa.string(),
    Kind.JSON: pa.string(),
    Kind.IDS: pa.string(),
    Kind.BIGINT: pa.int64(),
    Kind.DOUBLE: pa.float64(),
    Kind.BOOL: pa.bool_(),
    Kind.DATE: pa.date32(),
    Kind.TIMESTAMP: pa.timestamp("us", "UTC"),
    Kind.UNIT: pa.decimal128(12, 6),
}
_WIRE: dict[Kind, type] = {
    Kind.ID: str,
    Kind.TEXT: str,
    Kind.BIGINT: int,
    Kind.DOUBLE: float,
    Kind.BOOL: bool,
    Kind.DATE: str,
    Kind.TIMESTAMP: str,
}


class Misfit(ValueError):
    """A value that its column cannot hold exactly; the message is the reason."""


def arrow_type(kind: Kind) -> pa.DataType:
    """Return the Arrow type to which values of a column are converted."""
    return _ARROW[kind]


def convert_column(kind: Kind, values: Sequence[object]) -> tuple[pa.Array, dict[int, str]]:
    """Convert the values of one column exactly, or give the reasons why some do not fit.

    Args:
        kind: The column's type.
        values: The values as they came in JSON, one for each row; None stays null.

    Returns:
        The column, with null where a value does not fit, and the reasons by row number.
    """
    fast = _convert_at_once(kind, values)
    return (fast, {}) if fast is not None else _convert_one_by_one(kind, values)


def _convert_at_once(kind: Kind, values: Sequence[object]) -> pa.Array | None:
    """Convert a whole column with Arrow; None if that conversion might not be exact."""
    types = set(map(type, values)) - {type(None)}
    if not types:
        return pa.nulls(len(values), _ARROW[kind])
    if types != {_WIRE.get(kind)}:
        return None
    try:
        if kind in (Kind.DATE, Kind.TIMESTAMP):
            times = pa.array(values, pa.string()).cast(_ARROW[kind])
            return times if _in_calendar(kind, times) else None
        if kind in (Kind.TEXT, Kind.ID) and "\0" in "".join(filter(None, values)):  # type: ignore[arg-type]
            return None
        return pa.array(values, _ARROW[kind])
    except (pa.ArrowInvalid, OverflowError):
        return None


def _in_calendar(kind: Kind, times: pa.Array) -> bool:
    """Return whether all converted dates or times are in the years 1 to 9999."""
    first, last = (pa.scalar(bound, times.type) for bound in _CALENDAR[kind])
    bounds = pc.min_max(times)
    return bool(bounds["min"].value >= first.value and bounds["max"].value <= last.value)


def _convert_one_by_one(kind: Kind, values: Sequence[object]) -> tuple[pa.Array, dict[int, str]]:
    """Convert each value of a column by itself, and collect the reasons of misfits by row."""
    converted: list[object] = []
    reasons: dict[int, str] = {}
    for row, value in enumerate(values):
        try:
            converted.append(None if value is None else convert(kind, value))
        except Misfit as misfit:
            converted.append(None)
            reasons[row] = str(misfit)
    return pa.array(converted, _ARROW[kind]), reasons


def convert(kind: Kind, value: object) -> object:
    """Convert one value that is not null exactly to the type of its column.

    Raises:
        Misfit: If the column cannot hold exactly this value.
    """
    return _EXACT[kind](value)


def _text(value: object) -> str:
    """Convert text exactly: it stays as it is, and must not contain a NUL character."""
    if not isinstance(value, str):
        raise Misfit(f"{shown(value)} is not text")
    if "\0" in value:
        raise Misfit("text with a NUL character, which no database can store")
    return value


def _id(value: object) -> str:
    """Convert an id exactly to text; a whole number is accepted, too."""
    return str(value) if type(value) is int else _text(value)


def _bigint(value: object) -> int:
    """Convert a value exactly to a whole number of 64 bits."""
    number = value
    if isinstance(value, str) and re.fullmatch(r"-?[0-9]{1,19}", value):
        number = int(value)
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT_FLOAT:
        number = int(value)
    if type(number) is not int:
        raise Misfit(f"{shown(value)} is not a whole number")
    if not -_INT64 <= number < _INT64:
        raise Misfit(f"{shown(value)} is beyond 64 bits")
    return number


def _double(value: object) -> float:
    """Convert a number exactly to a floating-point number."""
    if type(value) is int and abs(value) < _EXACT_FLOAT:
        return float(value)
    if not isinstance(value, float):
        raise Misfit(f"{shown(value)} is not a number")
    return value


def _bool(value: object) -> bool:
    """Convert a JSON boolean exactly; nothing else is accepted."""
    if not isinstance(value, bool):
        raise Misfit(f"{shown(value)} is neither true nor false")
    return value


def _date(value: object) -> date:
    """Convert text in the form YYYY-MM-DD exactly to a date."""
    try:
        if isinstance(value, str) and re.fullmatch(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", value):
            return date.fromisoformat(value)
    except ValueError:
        pass
    raise Misfit(f"{shown(value)} is not a date YYYY-MM-DD")


def _timestamp(value: object) -> datetime:
    """Convert text with an offset exactly to a time in UTC."""
    try:
        text = value if isinstance(value, str) and _TIME.fullmatch(value) else ""
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise Misfit(f"{shown(value)} is not a time") from None
    if moment.tzinfo is None:
        raise Misfit(f"{shown(value)} is a time without an offset")
    try:
        return moment.astimezone(UTC)
    except OverflowError:
        raise Misfit(f"{shown(value)} is outside the years 1 to 9999") from None


def _json(value: object) -> str:
    """Convert any JSON value to JSON text."""
    return orjson.dumps(value).decode()


def is_id(value: object) -> bool:
    """Return whether a value converts to an id: a whole number, or text without comma and NUL."""
    if isinstance(value, str):
        return bool(value) and "\0" not in value and "," not in value
    return type(value) is int


def _ids(value: object) -> str:
    """Convert a list of ids to JSON text."""
    if not isinstance(value, list) or not all(map(is_id, value)):
        raise Misfit(f"{shown(value)} is not a list of ids")
    return _json(value)


def _unit(value: object) -> Decimal:
    """Convert the value of a minor unit, which must be a decimal number already."""
    if not isinstance(value, Decimal):
        raise Misfit(f"{shown(value)} is not the value of a minor unit")
    return value


_EXACT: dict[Kind, Callable[[object], object]] = {
    Kind.ID: _id,
    Kind.TEXT: _text,
    Kind.BIGINT: _bigint,
    Kind.DOUBLE: _double,
    Kind.BOOL: _bool,
    Kind.DATE: _date,
    Kind.TIMESTAMP: _timestamp,
    Kind.JSON: _json,
    Kind.IDS: _ids,
    Kind.UNIT: _unit,
}


def kind_of(value: object) -> Kind:
    """Return the kind of column to which an undeclared field's first value is converted."""
    if isinstance(value, bool):
        return Kind.BOOL
    if isinstance(value, int) and -_INT64 <= value < _INT64:
        return Kind.BIGINT
    if isinstance(value, float):
        return Kind.DOUBLE
    return Kind.TEXT


def as_text(value: object) -> str | None:
    """Convert any value to text: text stays as it is, everything else becomes JSON."""
    if value is None:
        return None
    text = value if isinstance(value, str) else orjson.dumps(value).decode()
    return text.replace("\0", "\ufffd")  # no database stores NUL; the record as received keeps it


def shown(value: object) -> str:
    """Return a value that could not be converted as short JSON text for a message."""
    text = orjson.dumps(value, default=str).decode()
    return text if len(text) <= 40 else text[:37] + "..."


def timestamps(values: Sequence[datetime | None]) -> pa.Array:
    """Convert times in Python to an Arrow column of times in UTC."""
    return pa.array(values, _ARROW[Kind.TIMESTAMP])


def table_of(columns: Mapping[str, Kind], rows: list[dict[str, Any]]) -> pa.Table:
    """Convert rows in Python to an Arrow table with exactly these columns."""
    schema = pa.schema([(name, arrow_type(kind)) for name, kind in columns.items()])
    return pa.Table.from_pylist(rows, schema=schema)
