"""Changes inside fields that hold objects."""

from __future__ import annotations

import pytest

from sources.kantata.transform.nested_drift import nested_changes

CASES = {  # held as JSON text, read -> path and kind of each change
    "nothing new": (['{"a": 1}'], [{"a": 2}], []),
    "a new field": (['{"a": 1}'], [{"a": 1, "b": "x"}], [("data.b", "text")]),
    "a new field of a number": (['{"a": 1}'], [{"b": 1.5}], [("data.b", "double")]),
    "a field that went": (['{"a": 1, "b": 2}'], [{"a": 1}], []),
    "a field of another type": (['{"a": 1}'], [{"a": "x"}], [("data.a", "text")]),
    "a field whose type some rows had": (['{"a": 1}', '{"a": "x"}'], [{"a": "y"}], []),
    "a field that is null now": (['{"a": 1}'], [{"a": None}], []),
    "a field that was null": (['{"a": null}'], [{"a": 1}], []),
    "a new field that is null has no type yet": (['{"a": 1}'], [{"a": 1, "b": None}], []),
    "a field within a field": (
        ['{"a": {"b": 1}}'], [{"a": {"b": 1, "c": True}}], [("data.a.c", "bool")],
    ),
    "a list for a value": (['{"a": 1}'], [{"a": [1]}], [("data.a", "object or list")]),
    "a field within a list is not looked at": (['{"a": []}'], [{"a": [{"b": 1}]}], []),
    "five objects deep is not looked at": (
        ['{"a": {"b": {"c": {"d": {}}}}}'], [{"a": {"b": {"c": {"d": {"e": 1}}}}}], [],
    ),
    "four objects deep is": (
        ['{"a": {"b": {"c": {}}}}'], [{"a": {"b": {"c": {"d": 1}}}}], [("data.a.b.c.d", "bigint")],
    ),
    "two changes in order": (
        ['{"b": 1}'], [{"c": 1, "b": "x"}], [("data.b", "text"), ("data.c", "bigint")],
    ),
    "held text that is no JSON": (["{", '{"a": 1}'], [{"a": 2}], []),
    "a column of another type has a column for that": (['"x"'], [1], []),
    "the object itself of another type": (['{"a": 1}'], ["x"], []),
}  # fmt: skip


@pytest.mark.parametrize(("held", "read", "found"), CASES.values(), ids=CASES)
def test_changes(held: list[str], read: list[object], found: list[tuple[str, str]]) -> None:
    """Each path that is new or has a new type is reported once, with its type."""
    lines = list(nested_changes("data", held, read))
    assert [line.partition(" ")[0] for line in lines] == [path for path, _ in found]
    assert all(kind in line for line, (_, kind) in zip(lines, found, strict=True)), lines
