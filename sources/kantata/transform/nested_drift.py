"""What is new within fields that hold objects, which their columns cannot tell: they are text."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import suppress

import orjson

from .conversion import kind_of

ROWS_LOOKED_AT = 100  # of a batch: a new field is in more rows than these, or in few
_DEEPEST = 4


def nested_changes(column: str, stored: Iterable[object], read: Iterable[object]) -> Iterator[str]:
    """Paths that are new, and paths whose values changed their type, in words.

    Args:
        column: The column's name.
        stored: What the warehouse holds in it: JSON text.
        read: What was read of it: any JSON.
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
    """Note the kinds of all values below a path; null has none."""
    kinds = kinds_by_path.setdefault(path, set())
    if isinstance(value, dict) and depth < _DEEPEST:
        for name, inner in value.items():
            _note_kinds(f"{path}.{name}", inner, kinds_by_path, depth + 1)
    elif value is not None:
        kinds.add("object or list" if isinstance(value, (dict, list)) else kind_of(value).value)
