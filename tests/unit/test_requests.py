"""Change requests from the command line and from a file."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from pipelines.writeback.requests import (
    ChangeRequest,
    refuse_problems,
    requests_from_csv,
    requests_from_query,
    single_request,
)
from warehouse.database import QueryResult
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Action

WHY = "as agreed"


def request(
    action: Action = Action.UPDATE,
    id_: str | None = "7",
    where: str = "line 2",
    reason: str = WHY,
    currency: str = "",
    **fields: str,
) -> ChangeRequest:
    """A request for milestone 7 in line 2 of a file."""
    return ChangeRequest(action, id_, fields, reason, where, currency=currency)


SETTINGS = {
    "no field": ([], {}),
    "one field": (["title=Go-live"], {"title": "Go-live"}),
    "two fields": (["title=A", "story_id=12"], {"title": "A", "story_id": "12"}),
    "spaces around the name do not count": ([" title =A"], {"title": "A"}),
    "spaces of the value are left to its field": (["title= A "], {"title": " A "}),
    "only the first sign divides": (["title=a=b"], {"title": "a=b"}),
    "an empty value is left to its field": (["title="], {"title": ""}),
    "a field that does not exist is left to the proposal": (["colour=red"], {"colour": "red"}),
}


@pytest.mark.parametrize(("settings", "fields"), SETTINGS.values(), ids=SETTINGS)
def test_request_of_the_command_line(settings: list[str], fields: dict[str, str]) -> None:
    """Each NAME=VALUE sets one field."""
    updated = single_request(Action.UPDATE, milestone_id="7", assignments=settings, reason=WHY)
    assert updated == request(where="", **fields)
    created = single_request(Action.CREATE, milestone_id=None, assignments=settings, reason="b")
    assert created == request(Action.CREATE, None, "", "b", **fields)


WRONG_SETTINGS = {
    "a name without a value": (["title"], "title"),
    "a name twice": (["title=A", "title=B"], "title=B"),
    "a name twice but for its spaces": (["title=A", "title =A"], "title =A"),
    "nothing": ([""], "NAME=VALUE"),
}


@pytest.mark.parametrize(("settings", "words"), WRONG_SETTINGS.values(), ids=WRONG_SETTINGS)
def test_settings_that_are_refused(settings: list[str], words: str) -> None:
    """The message shows the input and the right form."""
    with pytest.raises(ChangeRefused, match=words) as refused:
        single_request(Action.UPDATE, milestone_id="7", assignments=settings, reason=WHY)
    assert "NAME=VALUE" in str(refused.value)


FILES = {
    "an update, since no action is named": ("id,title\n7,A\n", [request(title="A")]),
    "the milestone by its long name": ("milestone_id,title\n7,A\n", [request(title="A")]),
    "the milestone by both names": ("id,milestone_id,title\n7,7,A\n", [request(title="A")]),
    "the milestone by one of two names": (
        "id,milestone_id,title\n7,,A\n,8,B\n",
        [request(title="A"), request(id_="8", where="line 3", title="B")],
    ),
    "three actions": (
        "action,id,workspace_id,title\nupdate,7,,A\ncreate,,3,B\ndelete,8,,\n",
        [
            request(title="A"),
            request(Action.CREATE, None, "line 3", workspace_id="3", title="B"),
            request(Action.DELETE, "8", "line 4"),
        ],
    ),
    "an empty action is an update": ("action,id,title\n,7,A\n", [request(title="A")]),
    "a reason of its own": (
        "id,title,reason\n7,A,because\n8,B,\n",
        [request(reason="because", title="A"), request(id_="8", where="line 3", title="B")],
    ),
    "an empty cell sets nothing": ("id,title,story_id\n7,,12\n", [request(story_id="12")]),
    "a cell of spaces sets nothing": ("id,title,story_id\n7,  ,12\n", [request(story_id="12")]),
    "zeros before an id": ("id,story_id\n007,12\n", [request(story_id="12")]),
    "spaces around a cell do not count": ("id,title\n 7 , A \n", [request(title="A")]),
    "semicolons, as a European Excel writes them": ("id;title\n7;A, b\n", [request(title="A, b")]),
    "a semicolon in a cell is text": ('id,"title"\n7,A;b\n', [request(title="A;b")]),
    "tabs": ("id\ttitle\n7\tA, b; c\n", [request(title="A, b; c")]),
    "a comma in a further column's name": (
        "Project, name;id;title\nX;7;A\n", [request(title="A")],
    ),
    "the line that names the sign": (
        "sep=;\r\nid;title\r\n7;A\r\n", [request(where="line 3", title="A")],
    ),
    "empty rows and columns, as Excel leaves them": (
        "id,title,,\n7,A,,\n,,,\n8,B,,,,\n , ,,\n",
        [request(title="A"), request(id_="8", where="line 4", title="B")],
    ),
    "further columns": ("id,colour,title\n7,red,A\n", [request(title="A")]),
    "a currency, which is no field": (
        "id,currency,title\n7, EUR ,A\n8,,B\n",
        [request(title="A", currency="EUR"), request(id_="8", where="line 3", title="B")],
    ),
    "a byte order mark, as Excel writes it": ("\ufeffid,title\n7,A\n", [request(title="A")]),
    "line ends of Windows": ("id,title\r\n7,A\r\n", [request(title="A")]),
    "no line end at the end": ("id,title\n7,A", [request(title="A")]),
    "quotes": ('id,title\n7,"A ""b"", c"\n', [request(title='A "b", c')]),
    "a line end in a cell is left to its field, and lines are counted": (
        'id,title\n7,"A\nb"\n8,C\n',
        [request(where="line 3", title="A\nb"), request(id_="8", where="line 4", title="C")],
    ),
    "an empty line is skipped": (
        "id,title\n7,A\n\n8,B\n", [request(title="A"), request(id_="8", where="line 4", title="B")],
    ),
    "an update without a milestone is left to the proposal": (
        "id,title\n,A\n", [request(id_=None, title="A")],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), FILES.values(), ids=FILES)
def test_requests_of_a_file(tmp_path: Path, text: str, expected: list[ChangeRequest]) -> None:
    """Each line is one request, identified by its line number."""
    file = tmp_path / "changes.csv"
    file.write_text(text, encoding="utf-8", newline="")
    assert requests_from_csv(file, WHY) == expected


WRONG_FILES = {
    "nothing": ("", ["changes.csv"]),
    "a header alone": ("id,title\n", ["changes.csv"]),
    "no column to write": ("id,colour\n7,red\n", ["'colour'", "amount_in_cents"]),
    "a header with both signs is divided by commas": ("id,title;colour\n7,A\n", ["'title;colour'"]),
    "every column that is nearly one of ours": (
        "id,Title,reason,date_to_invoic,milestone id,Amount,date\n7,A,b,c,d,e,f\n",
        ["'Title'", "call it title", "'date_to_invoic'", "'milestone id'", "call it amount,",
         "'date' is unknown: call it date_to_invoice"],
    ),
    "a name of ours within another": ("id,title;reason,story_id\n7,red,1\n", ["'title;reason'"]),
    "a column that is checked, not written": ("id,currency\n7,EUR\n", ["'currency'"]),
    "a currency under another name": ("id,amount,Currency\n7,1,EUR\n", ["call it currency"]),
    "a value below no name": ("id,,title\n7,red,A\n", ["line 2", "column 2"]),
    "a value after the last column": ("id,title\n7,A,,B\n", ["line 2"]),
    "an id that a spreadsheet rounded": ("id,title\n1.23E+05,A\n", ["line 2", "rounded"]),
    "a workbook": ("PK\x03\x04", ["changes.csv", "workbook"]),
    "a column twice": ("id,title,title\n7,A,B\n", ["'title'"]),
    "too few cells": ("id,title\n7\n", ["line 2"]),
    "too many cells": ("id,title\n7,A,B\n", ["line 2", "changes.csv"]),
    "an action that does not exist": ("action,id\napprove,7\n", ["line 2", "'approve'", "delete"]),
    "an action in capitals": ("action,id\nUPDATE,7\n", ["line 2", "'UPDATE'"]),
    "two milestones in one line": ("id,milestone_id,title\n7,8,A\n", ["line 2", "7 and 8"]),
    "a quote that does not end": ('id,title\n7,"A\n', ["changes.csv", "line 2"]),
    "text after a quote": ('id,title\n7,"A"b\n', ["changes.csv", "line 2"]),
    "every line that is wrong": (
        "action,id\nmove,7\nupdate,8\ndrop,9\n", ["line 2", "'move'", "line 4", "'drop'"],
    ),
}  # fmt: skip


@pytest.mark.parametrize(("text", "words"), WRONG_FILES.values(), ids=WRONG_FILES)
def test_files_that_are_refused(tmp_path: Path, text: str, words: list[str]) -> None:
    """The whole file is refused with one message, which names exactly the invalid lines."""
    file = tmp_path / "changes.csv"
    file.write_text(text, encoding="utf-8", newline="")
    with pytest.raises(ChangeRefused) as refused:
        requests_from_csv(file, WHY)
    assert all(word in str(refused.value) for word in words), str(refused.value)
    assert "line 3" not in str(refused.value)


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    """A missing file and one in another encoding are refused."""
    latin, no_mark = tmp_path / "latin.csv", tmp_path / "no_mark.csv"
    text = "id,title\n7,Prüfung\n"
    latin.write_bytes(text.encode("latin-1"))
    no_mark.write_bytes(text.encode("utf-16-le"))
    for file, words in (
        (tmp_path / "missing.csv", "there is no file .*missing.csv"),
        (tmp_path, "cannot read"),
        (latin, r"latin.csv: line 2 .*Windows-1252.*CSV UTF-8"),
        (no_mark, r"no_mark.csv: line 2 .*UTF-16"),
    ):
        with pytest.raises(ChangeRefused, match=words):
            requests_from_csv(file, WHY)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_encodings_of_a_spreadsheet(tmp_path: Path, encoding: str) -> None:
    """A file that a spreadsheet saves as UTF-8 or Unicode text has the same requests."""
    file = tmp_path / "changes.csv"
    file.write_bytes("id\ttitle\n7\tPrüfung\n".encode(encoding))
    assert requests_from_csv(file, WHY) == [request(title="Prüfung")]


def test_further_columns_are_named(tmp_path: Path) -> None:
    """A column that is not ours is ignored, and the note names it."""
    file, ignored = tmp_path / "changes.csv", list[str]()
    file.write_text("id,project,title,colour\n7,X,A,red\n")
    assert requests_from_csv(file, WHY, ignored.extend) == [request(title="A")]
    assert ignored == ["project", "colour"]


PROBLEMS = {
    "none": ([], "file:", None),
    "one under a head": (["line 2: a"], "file", "file:\n  line 2: a"),
    "two under a head": (["line 2: a", "line 3: b"], "file", "file:\n  line 2: a\n  line 3: b"),
    "one alone": (["a"], "", "a"),
}


@pytest.mark.parametrize(("problems", "head", "message"), PROBLEMS.values(), ids=PROBLEMS)
def test_problems_are_refused_together(problems: list[str], head: str, message: str | None) -> None:
    """One error lists each problem on a line; without problems there is no error."""
    if message is None:
        refuse_problems(problems, head)
        return
    with pytest.raises(ChangeRefused) as refused:
        refuse_problems(problems, head)
    assert str(refused.value) == message


def query_of(value: object) -> Callable[[str], QueryResult]:
    """Return a warehouse in which each query has one row with this title."""
    return lambda _: QueryResult(["id", "title"], [("7", value)])


CELLS = {
    "a text": ("A", "A"),
    "a whole number": (12, "12"),
    "an exact number": (Decimal("1.50"), "1.50"),
    "a date": (date(2027, 1, 31), "2027-01-31"),
}


@pytest.mark.parametrize(("value", "text"), CELLS.values(), ids=CELLS)
def test_cells_of_a_query(value: object, text: str) -> None:
    """Texts, numbers and dates have a plain text."""
    (found,) = requests_from_query(query_of(value), "select", WHY)
    assert found == request(where="row 1", title=text)


@pytest.mark.parametrize("value", [True, False, ["A"], {"a": 1}, b"A", ("A",)], ids=repr)
def test_cells_without_a_text(value: object) -> None:
    """What would become a text that nobody wrote is refused, with its row and column."""
    with pytest.raises(ChangeRefused, match=r"row 1: title is .* neither a text nor a number"):
        requests_from_query(query_of(value), "select", WHY)
