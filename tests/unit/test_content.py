"""Hashes of content: equal for records with the same meaning, different for all others."""

from __future__ import annotations

from typing import Any

import pytest

from sources.kantata.transform.fingerprint import digest, mark, row_hash, with_kept, xor

RECORD = {"id": "7", "amount_in_cents": 50_000, "data": {"a": 1, "b": [1, 2]}, "x_ids": ["1", "2"]}
SAME = {
    "the keys in another order": dict(reversed(RECORD.items())),
    "the keys of an object in another order": RECORD | {"data": {"b": [1, 2], "a": 1}},
    "a list of ids in another order": RECORD | {"x_ids": ["2", "1"]},
    "a field that is null": RECORD | {"title": None},
}
OTHER = {
    "another value": RECORD | {"amount_in_cents": 50_001},
    "the same number as text": RECORD | {"amount_in_cents": "50000"},
    "the same number with a fraction": RECORD | {"amount_in_cents": 50_000.0},
    "a field more": RECORD | {"title": ""},
    "a field less": {name: value for name, value in RECORD.items() if name != "data"},
    "a field that has become null": RECORD | {"data": None},
    "another name of a field": {"ID" if name == "id" else name: v for name, v in RECORD.items()},
    "a list that is not of ids in another order": RECORD | {"data": {"a": 1, "b": [2, 1]}},
    "an id less": RECORD | {"x_ids": ["1"]},
    "an id twice": RECORD | {"x_ids": ["1", "1", "2"]},
    "ids as numbers": RECORD | {"x_ids": [1, 2]},
    "a null within an object": RECORD | {"data": {"a": 1, "b": [1, 2], "c": None}},
}


@pytest.mark.parametrize("record", SAME.values(), ids=SAME)
def test_same_content(record: dict[str, Any]) -> None:
    """Records with the same meaning have the same digest."""
    assert digest(record) == digest(RECORD)


@pytest.mark.parametrize("record", OTHER.values(), ids=OTHER)
def test_other_content(record: dict[str, Any]) -> None:
    """Records with another meaning have another digest."""
    assert digest(record) != digest(RECORD)


def test_plain_list_keeps_its_order() -> None:
    """The order of a plain list matters; only lists of ids are sets."""
    assert digest({"list": [1, 2]}) != digest({"list": [2, 1]})


def test_record_is_left_as_it_is() -> None:
    """Sorting ids for the hash does not change the record."""
    record = {"x_ids": ["2", "1"], "title": None}
    digest(record)
    assert record == {"x_ids": ["2", "1"], "title": None}


def test_what_a_row_kept_can_be_read_from_its_hash() -> None:
    """The hash of a row with kept values names their columns."""
    content = digest(RECORD)
    row = with_kept(content, ["title", "story_id"])
    assert row != content
    assert row == with_kept(content, ["story_id", "title"])
    assert with_kept(row, ["title", "story_id"]) == content
    assert xor(row, content) == mark(["title", "story_id"])
    assert mark(["title", "story_id"]) != mark(["title"])
    assert mark(["a", "b"]) != mark(["ab"])


def test_hash_of_a_row_has_a_version() -> None:
    """A hash begins with its version, so that a later release can recognise it."""
    version, _, text = row_hash(digest(RECORD)).partition(":")
    assert version
    assert bytes.fromhex(text) == digest(RECORD)
    assert len(digest(RECORD)) == len(digest({})) == 16
