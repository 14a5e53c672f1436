"""Parses request bodies: JSON or Rails-style forms (API.md#base-url-and-formats)."""

import re
from typing import Any
from urllib.parse import parse_qsl

import orjson

from .responses import bad_request

_PARTS = re.compile(r"\[([^\]]*)\]")


def parse_body(body: bytes, content_type: str) -> dict[str, Any]:
    """Parse the parameters in a request's body.

    Raises:
        ApiError: 400, if it cannot be parsed or is not an object.
    """
    if "json" not in content_type:
        return parse_form(body.decode("utf-8", "replace"))
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        raise bad_request("There was a problem in the JSON you submitted") from None
    if not isinstance(value, dict):
        raise bad_request("The JSON you submitted is no object")
    return value


def parse_form(text: str) -> dict[str, Any]:
    """Parse a form such as `milestone[external_reference][status]=failed` into nested values."""
    values: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True):
        head = name.partition("[")[0]
        _put(values, [head, *_PARTS.findall(name[len(head) :])], value)
    return {name: _lists(value) for name, value in values.items()}


def _put(into: dict[str, Any], path: list[str], value: str) -> None:
    """Put a value from a form's body at its path in nested objects and lists."""
    name, *rest = path
    if not rest:
        into[name] = value
        return
    kind = list if rest[0] == "" else dict
    child = into.setdefault(name, kind())
    if not isinstance(child, kind):
        raise bad_request(f"expected {kind.__name__} for param {name}")
    if isinstance(child, list):
        _append(child, rest[1:], value)
    else:
        _put(child, rest, value)


def _append(items: list[Any], path: list[str], value: str) -> None:
    """Append a parsed value to a list: `a[][x]` begins a new item if the last one has an x."""
    if not path:
        items.append(value)
        return
    if not items or not isinstance(items[-1], dict) or _has(items[-1], path):
        items.append({})
    _put(items[-1], path, value)


def _has(item: dict[str, Any], path: list[str]) -> bool:
    """Return whether an item parsed from a form has a value at this path."""
    name, *rest = path
    if name not in item:
        return False
    return not rest or not isinstance(item[name], dict) or _has(item[name], rest)


def _lists(value: object) -> object:
    """Turn parsed objects with numbers as keys, as of `a[0][x]=…&a[1][x]=…`, into lists."""
    if isinstance(value, list):
        return [_lists(item) for item in value]
    if not isinstance(value, dict):
        return value
    if value and all(name.isdigit() for name in value):
        return [_lists(value[name]) for name in sorted(value, key=int)]
    return {name: _lists(item) for name, item in value.items()}
