"""Read JSON that the strict parser refuses, so that one odd value costs one record, not the page.

Kantata could send an unpaired surrogate, a byte that is not UTF-8, NaN, a number too large for any
type, or objects nested hundreds deep. A record with such a value is marked as unreadable, and the
value becomes text; the transformation then rejects the record by name.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

UNREADABLE = "\0unreadable"  # in a marked record, the key of the reason
_MOST_LEVELS = 100
_MOST_DIGITS = 19
_SHOWN = 40  # characters
_SURROGATE = re.compile(r"[\ud800-\udfff]")


def parse_leniently(content: bytes) -> object:
    """Parse a response's JSON, and mark the records in it that hold what cannot be stored.

    Raises:
        ValueError: If it is not JSON at all, for example since it is cut off.
    """
    try:
        body = json.loads(
            content.decode("utf-8", "surrogateescape"),
            parse_constant=lambda text: _Odd(text, "is no number"),
            parse_float=_float,
            parse_int=_int,
        )
    except RecursionError:
        raise ValueError("nested too deeply") from None
    if not isinstance(body, dict):
        return _storable(body, _Reasons())
    return {name: _marked_map(value) for name, value in body.items()}


def storable_record(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of a JSON record with text in place of each value that cannot be stored.

    If there is one, the copy is marked as unreadable.
    """
    reasons = _Reasons()
    copy: dict[str, Any] = {}
    for name, value in record.items():
        reasons.name = _text(name)
        copy[reasons.name] = _storable(value, reasons)
    return copy | {UNREADABLE: "; ".join(reasons.found)} if reasons.found else copy


@dataclass(frozen=True)
class _Odd:
    """A number that has no exact value here."""

    text: str
    reason: str


@dataclass
class _Reasons:
    """Why a record is unreadable: a reason for each of its fields, and the field looked at now."""

    name: str = ""
    found: list[str] = field(default_factory=list)

    def add(self, what: str) -> None:
        """Add what is wrong with the field looked at now, once."""
        line = f"{self.name}: {what}"
        if line not in self.found:
            self.found.append(line)


def _float(text: str) -> object:
    """Return a number with a fraction or an exponent, if it is finite."""
    number = float(text)
    return number if abs(number) != float("inf") else _Odd(text, "is too large")


def _int(text: str) -> object:
    """Return a whole number of at most 19 digits."""
    return int(text) if len(text.lstrip("-")) <= _MOST_DIGITS else _Odd(text, "has too many digits")


def _marked_map(value: object) -> object:
    """Return a map of records by id with storable records; anything else storable as it is."""
    if not isinstance(value, dict):
        return _storable(value, _Reasons())
    return {
        _text(id_): storable_record(record)
        if isinstance(record, dict)
        else _storable(record, _Reasons())
        for id_, record in value.items()
    }


def _storable(value: Any, reasons: _Reasons, level: int = 0) -> Any:  # noqa: ANN401 - any JSON
    """Return a value with text in place of what cannot be stored, and add why."""
    if isinstance(value, _Odd):
        reasons.add(f"{value.text[:_SHOWN]} {value.reason}")
        return value.text[:_SHOWN]
    if isinstance(value, str):
        if _SURROGATE.search(value):
            reasons.add("the text is not valid Unicode")
            return _text(value)
        return value
    if isinstance(value, (dict, list)) and level >= _MOST_LEVELS:
        reasons.add(f"nested more than {_MOST_LEVELS} levels deep")
        return "..."
    if isinstance(value, dict):
        return {_text(name): _storable(v, reasons, level + 1) for name, v in value.items()}
    if isinstance(value, list):
        return [_storable(item, reasons, level + 1) for item in value]
    return value


def _text(text: str) -> str:
    """Return text with the replacement character for what is not valid Unicode."""
    return _SURROGATE.sub("\ufffd", text)
