"""Finds new fields and changed types within fields that hold objects, stored as JSON text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

import orjson

from .conversion import kind_of

ROWS_LOOKED_AT = 100  # per batch: a field that fewer rows have may go unreported
_DEEPEST = 4


def nested_changes(column: str, stored: Iterable[object], read: Iterable[object]) -> Iterator[str]:
    """Yield one line for each nested path that is new, or whose values changed their type.

    Args:
        column: The column's name.
        stored: The column's values in the warehouse: JSON text.
        read: The values that were read: any JSON.
    """
    before: dict[str, set[str]] = {}
    for text in stored:
        with suppress(ValueError):
            _note_kinds(column, orjson.loads(str(text)), before, 0)
    after: dict[str, set[str]] = {}
    for value in read:
        _note_kinds(column, value, after, 0)
    for path in sorted(after.keys() - {column}):
        for kind in sorted(after[path] - before.get(path, set())):
            if path not in before:
                yield f"{path} is new ({kind})"
            elif before[path]:
                yield f"{path} was {' or '.join(sorted(before[path]))}, and now is {kind} too"


def _note_kinds(path: str, value: object, kinds_by_path: dict[str, set[str]], depth: int) -> None:
    """Collect the types of all values nested below a path; null has none."""
    kinds = kinds_by_path.setdefault(path, set())
    if isinstance(value, dict) and depth < _DEEPEST:
        for name, inner in value.items():
            _note_kinds(f"{path}.{name}", inner, kinds_by_path, depth + 1)
    elif value is not None:
        kinds.add("object or list" if isinstance(value, (dict, list)) else kind_of(value).value)
