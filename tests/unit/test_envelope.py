"""Kantata's envelope: which answers are valid pages, and what they contain."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from sources.kantata.api.envelope import Page, error_messages, read_page
from sources.kantata.errors import KantataUnavailable

NOW = datetime(2027, 1, 1, tzinfo=UTC)
MILESTONES = "billing_milestones"
SEVEN, EIGHT = {"id": "7", "title": "Kick-off"}, {"id": "8", "title": "Go-live"}


def named(*ids: object, key: str = MILESTONES) -> list[dict[str, object]]:
    """The part of an envelope that lists the resulting records."""
    return [{"key": key, "id": id_} for id_ in ids]


def body(*ids: object, **parts: object) -> dict[str, object]:
    """An envelope with the milestones 7 and 8 whose results are these ids."""
    return {
        "count": len(ids),
        "results": named(*ids),
        MILESTONES: {"7": SEVEN, "8": EIGHT},
    } | parts


def page(**parts: object) -> Page:
    """A page with milestone 7 alone."""
    empty = {"side_loaded": {}, "count": 1, "number": 1, "pages": 1, "size": 1}
    return Page(**{"records": {"7": SEVEN}, "observed_at": NOW} | empty | parts)


BOTH = {"records": {"8": EIGHT, "7": SEVEN}, "count": 2, "size": 2}
META = {"meta": {"count": 9, "page_count": 3, "page_number": 2, "page_size": 4}}
PAGES = {
    "one record": (body("7"), page()),
    "an id that is a number": (body(7), page()),
    "the order of the results counts, not that of the map": (body("8", "7"), page(**BOTH)),
    "a record of the map that is no result is not the answer": (
        body("7", count=1), page(),
    ),
    "a result of another type is not the answer": (
        body("7", results=named("7") + named("8", key="workspaces")), page(),
    ),
    "the same result twice is one record": (body("7", "7", count=1), page()),
    "an empty list": (
        body(**{MILESTONES: {}}), page(records={}, count=0),
    ),
    "an empty list without its map": (
        {"count": 0, "results": []}, page(records={}, count=0),
    ),
    "the page's place in the list": (
        body("7", count=9, **META), page(count=9, number=2, pages=3, size=4),
    ),
    "numbers as text": (
        body("7", count="9", meta={"page_count": "3", "page_number": "2", "page_size": "4"}),
        page(count=9, number=2, pages=3, size=4),
    ),
    "side-loaded records": (
        body("7", workspaces={"3": {"id": "3"}}, stories={}),
        page(side_loaded={"workspaces": {"3": {"id": "3"}}, "stories": {}}),
    ),
    "a map in which a record is no object keeps the others, and is odd": (
        body("7", workspaces={"3": {"id": "3"}, "4": None}),
        page(side_loaded={"workspaces": {"3": {"id": "3"}}},
             odd=(("workspaces", "some of its records are not objects"),)),
    ),
    "a map with nothing but nulls is odd": (
        body("7", workspaces={"3": None}),
        page(odd=(("workspaces", "some of its records are not objects"),)),
    ),
    "an object that is no map of records is left out": (
        body("7", links={"next": "/?page=2"}), page(),
    ),
    "side-loaded records as a list are odd": (
        body("7", workspaces=[{"id": "3"}]),
        page(odd=(("workspaces", "it is a list, not a map by id"),)),
    ),
    "a list of plain values is left out": (body("7", warnings=["slow"]), page()),
    "a plain value is left out": (body("7", version=1), page()),
}  # fmt: skip


@pytest.mark.parametrize(("answer", "wanted"), PAGES.values(), ids=PAGES)
def test_page(answer: object, wanted: Page) -> None:
    """The page is as expected, with its records in the order of the results."""
    found = read_page(answer, MILESTONES, NOW)
    assert [name for name, _ in found.odd] == [name for name, _ in wanted.odd]
    assert page(**vars(found) | {"odd": ()}) == page(**vars(wanted) | {"odd": ()})
    assert list(found.records) == list(wanted.records)


NO_PAGES = {
    "nothing": None,
    "a text": "Bad gateway",
    "a list": [],
    "an empty object": {},
    "an error": {"errors": [{"message": "no"}]},
    "results without a count": {"results": [], MILESTONES: {}},
    "a count that is no number": body("7", count="many"),
    "a count that is null": body("7", count=None),
    "results that are null": body("7", results=None),
    "a result without a type": body("7", results=[{"id": "7"}]),
    "a result without an id": body("7", results=[{"key": MILESTONES}]),
    "a result that is no object": body("7", results=["7"]),
    "a result whose record is missing": body("9"),
    "results without the map of their records": {"count": 1, "results": named("7")},
    "a map that is null": body("7", **{MILESTONES: None}),
    "a record that is null": body("7", **{MILESTONES: {"7": None}}),
    "a record that is a list": body("7", **{MILESTONES: {"7": []}}),
    "a place in the list that is null": body("7", meta=None),
    "a page number that is no number": body("7", meta={"page_number": "x"}),
}


@pytest.mark.parametrize("answer", NO_PAGES.values(), ids=NO_PAGES)
def test_answer_that_is_no_page(answer: object) -> None:
    """An invalid page is an error that may be retried; the message names the list."""
    with pytest.raises(KantataUnavailable, match=MILESTONES):
        read_page(answer, MILESTONES, NOW)


WHOLE = {  # records, count, number, pages, size -> rows expected, whole
    "the only page": (1, 1, 1, 1, 200, 1, True),
    "an empty list": (0, 0, 1, 1, 200, 0, True),
    "an empty list has page number 0, and no pages": (0, 0, 0, 0, 200, 0, True),
    "the first of two pages": (200, 201, 1, 2, 200, 200, True),
    "the last of two pages": (1, 201, 2, 2, 200, 1, True),
    "a full last page": (200, 400, 2, 2, 200, 200, True),
    "a page after the last": (0, 200, 2, 1, 200, 0, True),
    "a page long after the last": (0, 200, 9, 1, 200, 0, True),
    "a first page that lacks a row": (199, 201, 1, 2, 200, 200, False),
    "a last page that lacks its row": (0, 201, 2, 2, 200, 1, False),
    "more rows than the count": (2, 1, 1, 1, 200, 1, True),
    "a list of which more rows are counted than its pages hold": (200, 201, 1, 1, 200, 200, False),
    "a list without its pages": (1, 201, 1, 1, 1, 1, False),
}


@pytest.mark.parametrize("case", WHOLE.values(), ids=WHOLE)
def test_whole_page(case: tuple[int, int, int, int, int, int, bool]) -> None:
    """A page with fewer rows than its count promises is incomplete."""
    records, count, number, pages, size, expected, whole = case
    rows = {str(n): {} for n in range(records)}
    found = page(records=rows, count=count, number=number, pages=pages, size=size)
    assert (found.expected, found.whole) == (expected, whole)


def test_page_restricted_to_ids() -> None:
    """Records with other ids are dropped; nothing else changes."""
    both = page(**BOTH)
    assert both.restricted_to(frozenset({"7", "9"})) == page(**BOTH | {"records": {"7": SEVEN}})


MESSAGES = {
    "as documented": ({"errors": [{"type": "oauth", "message": "Invalid token"}]}, "Invalid token"),
    "as the Ruby client expects": ({"error_message": "Not found"}, "Not found"),
    "both": ({"errors": [{"message": "a"}], "error_message": "b"}, "a; b"),
    "of a field": ({"errors": [{"field": "title", "message": "is empty"}]}, "title: is empty"),
    "of the whole record": ({"errors": [{"field": "base", "message": "is locked"}]}, "is locked"),
    "two": ({"errors": [{"message": "a"}, {"message": "b"}]}, "a; b"),
    "a plain text": ({"errors": ["Invalid token"]}, "Invalid token"),
    "in two lines, and with many spaces": ({"error_message": " a\n  b "}, "a b"),
    "a long one is cut": ({"error_message": "x" * 400}, "x" * 300),
    "with a NUL": ({"error_message": "a\0b"}, "a\ufffdb"),
    "errors that are no list": ({"errors": "no"}, ""),
    "a message that is no text": ({"error_message": ["no"]}, ""),
    "nothing": ({}, ""),
    "no object": (["no"], ""),
    "null": (None, ""),
}


@pytest.mark.parametrize(("answer", "message"), MESSAGES.values(), ids=MESSAGES)
def test_messages_of_a_failure(answer: object, message: str) -> None:
    """Kantata's messages are shown in one line, for every shape of error."""
    assert error_messages(answer) == message


def test_error_without_a_message_says_something() -> None:
    """An error that names only a field is shown."""
    assert error_messages({"errors": [{"field": "title"}]}).startswith("title: ")
