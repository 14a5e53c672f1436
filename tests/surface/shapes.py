"""The shape of JSON: its keys and the types of their values, not the values."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

# Keys with a fixed set of values, which users compare with.
CHOSEN = frozenset({
    "mode", "status", "action", "step", "level", "event", "phase", "severity", "check", "condition",
    "table", "method", "exit_code",
})  # fmt: skip
# Keys with random hexadecimal digits, which by chance are all decimal.
_RANDOM = frozenset({"approved_digest", "change_id", "digest", "request_id", "run_id"})
_TIME = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d.*")
_DATE = re.compile(r"\d{4}-\d\d-\d\d")
_NUMBER = re.compile(r"-?\d+(\.\d+)?")
_CURRENCY = re.compile(r"[A-Z]{3}")


def shape(values: Iterable[Any]) -> Any:  # noqa: ANN401 - any JSON
    """One shape for all these JSON values: a type, or the shapes inside an object or a list."""
    values = list(values)
    if not values:
        return "nothing was seen"
    shapes: list[Any] = sorted({_scalar(v) for v in values if not isinstance(v, (dict, list))})
    if objects := [value for value in values if isinstance(value, Mapping)]:
        shapes.append(_object(objects))
    if lists := [value for value in values if isinstance(value, list)]:
        shapes.append([shape(item for each in lists for item in each)])
    return shapes[0] if len(shapes) == 1 else {"one of": shapes}


def _object(objects: list[Mapping[str, Any]]) -> dict[str, Any]:
    inner: dict[str, list[Any]] = {}
    for each in objects:
        for name, value in each.items():
            if name in _RANDOM and isinstance(value, str):
                value = "text"
            inner.setdefault("<currency>" if _CURRENCY.fullmatch(name) else name, []).append(value)
    optional = {
        name for name in inner if name != "<currency>" and any(name not in each for each in objects)
    }
    return {
        f"{name}, optional" if name in optional else name: shape(inner[name])
        for name in sorted(inner)
    }


def _scalar(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "boolean"
    if isinstance(value, (int, float)):
        return "integer" if isinstance(value, int) else "number"
    text = str(value)
    for name, pattern in {"time": _TIME, "date": _DATE, "number": _NUMBER}.items():
        if pattern.fullmatch(text):
            return f"text of a {name}"
    return "text"


def chosen(value: Any) -> dict[str, list[Any]]:  # noqa: ANN401 - any JSON
    """Every value of the keys in ``CHOSEN``, at any depth."""
    found: dict[str, set[Any]] = {}
    _collect(value, found)
    return {name: sorted(values, key=str) for name, values in sorted(found.items())}


def _collect(value: Any, found: dict[str, set[Any]]) -> None:  # noqa: ANN401 - any JSON
    if isinstance(value, list):
        for item in value:
            _collect(item, found)
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name in CHOSEN and isinstance(inner, (str, int, type(None))):
                found.setdefault(name, set()).add(inner)
            _collect(inner, found)


def lines(value: Any, path: str = "") -> list[str]:  # noqa: ANN401 - any JSON
    """A JSON value as lines of paths and values, so that differences are readable."""
    if not value or not isinstance(value, (dict, list)):
        return [f"{path}: {value!r}"]
    items = value.items() if isinstance(value, dict) else enumerate(value)
    return [line for name, inner in items for line in lines(inner, f"{path} > {name}")]
