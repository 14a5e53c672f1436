"""A workbook is exported, edited, and read back: exactly the edited cells are proposed."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from tests.support.office import Office

pytestmark = pytest.mark.long_on("postgres")
ODD = "=1+1 <b>&amp;</b> \x01\u2028 @x _x0041_ 'q'"
COLUMN = {
    name: index
    for index, name in enumerate(
        ("milestone_id", "project", "currency", "title", "amount", "date", "reason"), start=1
    )
}


class Book:
    """An exported workbook, edited and saved by another program."""

    def __init__(self, office: Office, path: Path) -> None:
        self.office, self.path = office, path
        code, output = office.run("export", str(path))
        assert code == 0, output
        self.open()

    def open(self) -> None:
        """Open the workbook as it was saved."""
        self.book = openpyxl.load_workbook(self.path)
        self.sheet = self.book["Changes"]
        self.rows = {str(row[0].value): row[0].row for row in self.sheet.iter_rows(min_row=2)}

    def cell(self, id_: str, column: str) -> Any:  # noqa: ANN401 - openpyxl's
        """Return the cell of a milestone."""
        return self.sheet.cell(self.rows[id_], COLUMN[column])

    def set(self, id_: str, column: str, value: object) -> None:
        """Write the cell of a milestone."""
        self.cell(id_, column).value = value

    def propose(self, *words: str) -> tuple[int, str]:
        """Save the workbook and propose its changes."""
        self.book.save(self.path)
        return self.office.run("propose", "--from", str(self.path), "--as", "ann", *words)


@pytest.fixture
def book(office: Office, tmp_path: Path) -> Book:
    """A workbook of the office."""
    return Book(office, tmp_path / "milestones.xlsx")


def test_ten_dates_go_to_kantata(office: Office, tmp_path: Path) -> None:
    """Ten edited dates are proposed, approved and written; no other field of the account moves."""
    office.sandbox.account.update_milestone(office.free()[11], title=ODD)
    office.job.sync(office.sandbox, full=True)
    book = Book(office, tmp_path / "milestones.xlsx")
    ids = office.free()[:10]
    for id_ in ids:
        book.set(id_, "date", datetime(2027, 5, 14) if id_ != ids[0] else "2027-05-14")
        book.set(id_, "reason", "slipped")
    before = {id_: dict(record) for id_, record in office.sandbox.account.milestones.items()}
    code, output = book.propose()
    assert code == 0, output
    assert "10 proposed, 0 not proposed" in output
    assert "→ 2027-05-14" in output
    assert "10 not proposed" in book.propose()[1]
    changes = office.json("changes")
    assert office.run("approve", *(c["change_id"] for c in changes), "--as", "bob")[0] == 0
    assert [c["status"] for c in office.json("push")["changes"]] == ["applied"] * 10
    differing = {
        (id_, name): record[name]
        for id_, record in office.sandbox.account.milestones.items()
        for name in record
        if record[name] != before[id_][name] and name != "updated_at"
    }
    assert differing == {(id_, "date_to_invoice"): "2027-05-14" for id_ in ids}


@pytest.mark.long
def test_an_old_workbook_undoes_nothing(office: Office, book: Book) -> None:
    """A cell is compared with its value at export; an edit made since then ends as a conflict."""
    one, two, three, *_ = office.free()
    account = office.sandbox.account
    for id_ in (one, two):
        account.update_milestone(id_, title="edited since", amount_in_cents=777)
    office.job.sync(office.sandbox, full=True)
    unit = office.job.rows(
        "select unit_per_subunit from kantata.currencies where iso_code = "
        f"'{account.milestones[three]['currency']}'"
    )[0][0]
    book.set(two, "date", datetime(2027, 5, 14))
    book.set(three, "amount", float(Decimal(12345) * unit))
    book.set(three, "title", "=2+2 is a title")
    book.cell(three, "title").data_type = "s"
    book.sheet.delete_rows(book.rows[office.free()[-1]])
    code, output = book.propose("--reason", "agreed")
    assert code == 0, output
    changes = office.json("changes")
    assert {c["milestone_id"]: c["after"] for c in changes} == {
        two: {"date_to_invoice": "2027-05-14"},
        three: {"amount_in_cents": 12345, "title": "=2+2 is a title"},
    }
    office.run("approve", *(c["change_id"] for c in changes), "--as", "bob")
    assert office.run("push")[0] == 3
    statuses = {c["milestone_id"]: c["status"] for c in office.json("changes", "--all")}
    assert statuses == {two: "conflict", three: "applied"}
    assert account.milestones[one]["amount_in_cents"] == 777
    assert account.milestones[two]["title"] == "edited since"


def _without_hidden(book: Book) -> None:
    del book.book["_exported"]


def _of_another_account(book: Book) -> None:
    book.book["_exported"]["B2"] = "elsewhere.example/api/v1"
    book.book["_exported"]["B3"] = "471100"


WRONG: dict[str, tuple[Callable[[Book, str], object], str]] = {
    "no values at export": (lambda b, _: _without_hidden(b), "no sheet _exported"),
    "altered values": (
        lambda b, _: b.book["_exported"].cell(6, 2, "{"), "is not as it was exported",
    ),
    "another account": (lambda b, _: _of_another_account(b), "elsewhere.example"),
    "no sheet": (lambda b, _: b.book.remove(b.sheet), "no sheet Changes"),
    "another header": (lambda b, _: b.sheet.cell(1, 6, "day"), "row 1 of the sheet Changes"),
    "an unknown id": (lambda b, i: b.set(i, "milestone_id", "4711"), "'4711' was not exported"),
    "an id twice": (
        lambda b, i: b.sheet.append([i, None, None, "x"]), "column milestone_id: {id} is already",
    ),
    "no id": (lambda b, i: b.set(i, "milestone_id", None), "column milestone_id: it is empty"),
    "no reason": (lambda b, i: b.set(i, "title", "x"), "column reason: milestone {id}"),
    "an emptied date": (lambda b, i: b.set(i, "date", None), "column date: it was emptied"),
    "an emptied title": (lambda b, i: b.set(i, "title", " "), "column title: it was emptied"),
    "an emptied amount": (lambda b, i: b.set(i, "amount", None), "column amount: it was emptied"),
    "a formula": (lambda b, i: b.set(i, "date", "=A1+1"), "column date: it has a formula"),
    "an error": (lambda b, i: b.set(i, "amount", "#N/A"), "column amount: it has the error"),
    "a time of day": (
        lambda b, i: b.set(i, "date", datetime(2027, 1, 1, 8)), "column date: 2027-01-01 08:00",
    ),
    "a text as date": (lambda b, i: b.set(i, "date", "31.01.2027"), "column date: '31.01.2027'"),
    "no such day": (lambda b, i: b.set(i, "date", "2027-02-30"), "column date: '2027-02-30'"),
    "a number as date": (lambda b, i: b.set(i, "amount", True), "column amount: True"),
    "a text as amount": (lambda b, i: b.set(i, "amount", "1.200,00"), "column amount: '1.200,00'"),
    "a number as title": (lambda b, i: b.set(i, "title", 7), "column title: 7 is not a text"),
    "another currency": (lambda b, i: b.set(i, "currency", "XXX"), "column currency: it cannot"),
    "another project": (lambda b, i: b.set(i, "project", "X"), "column project: it cannot"),
}  # fmt: skip


def test_wrong_workbooks_are_refused(office: Office, book: Book) -> None:
    """Each names its row and column, and nothing is proposed, also of the rows that are right."""
    id_, other, *_ = office.free()
    for mart in set(book.book.sheetnames) - {"Changes", "_exported", "Definitions"}:
        del book.book[mart]  # what is not read only takes time
    book.book.save(book.path)
    exported = book.path.read_bytes()
    for name, (edit, expected) in WRONG.items():
        book.path.write_bytes(exported)
        book.open()
        book.set(other, "date", datetime(2027, 5, 14))
        book.set(other, "reason", "right")
        row = book.rows[id_]
        edit(book, id_)
        code, output = book.propose()
        assert (code, expected.format(id=id_) in output) == (2, True), (name, output)
        if expected.startswith("column") and "twice" not in name:
            assert f"row {row}, column" in output, name
    book.path.write_bytes(exported)
    book.open()
    assert "no cell of the sheet Changes was changed" in book.propose()[1]
    book.set(id_, "amount", 0.00001)
    assert "finer than the minor unit" in book.propose("--reason", "r")[1]
    for content in (b"", b"PK\x03\x04", exported[: len(exported) // 2]):
        book.path.write_bytes(content)
        code, output = office.run("propose", "--from", str(book.path))
        assert (code, "as a workbook" in output) == (2, True), output
    missing = office.run("propose", "--from", str(book.path.with_name("none.xlsx")))
    assert missing[0] == 2
    assert "there is no file" in missing[1]
    assert office.json("changes") == []


def test_what_the_sheet_holds(office: Office, tmp_path: Path) -> None:
    """Only milestones that can be changed, with real dates and exact amounts; text stays text."""
    account = office.sandbox.account
    one, two, three, four, *_ = office.free()
    account.update_milestone(one, title=ODD)
    account.update_milestone(four, title="x" * 40_000)
    account.delete_milestone(two)
    account.invoice_milestone(three)
    office.job.sync(office.sandbox, full=True)
    book = Book(office, tmp_path / "milestones.xlsx")
    assert not {two, three, four} & book.rows.keys()
    assert set(office.free()) - {four} <= book.rows.keys()
    title = book.cell(one, "title")
    assert "no cell" in office.run("propose", "--from", str(book.path))[1]
    text = title.value.replace("_x005F_", "_")
    assert (title.data_type, text) == ("s", ODD.replace("\x01", "\ufffd"))
    assert book.cell(one, "date").value.date() == date.fromisoformat(
        account.milestones[one]["date_to_invoice"]
    )
    assert book.book["_exported"].sheet_state == "hidden"
    mart = book.book["billing_milestones"]
    assert mart.freeze_panes == "A2"
    assert mart.auto_filter.ref.startswith("A1:")
    header = [cell.value for cell in mart[1]]
    rows = {row[0].value: row for row in mart.iter_rows(min_row=2)}
    amounts = dict(office.job.rows("select id, amount from kantata_marts.billing_milestones"))
    assert rows.keys() == amounts.keys()
    for id_, row in rows.items():
        assert Decimal(repr(row[header.index("amount")].value)) == amounts[id_]
    assert rows[four][1].value.endswith("… (cut)")
    assert len(rows[four][1].value) == 32_767
    words = [cell.value for cell in book.book["Definitions"]["C"]]
    assert "The milestone's title." in words
    assert any("time zone UTC" in word for word in words)


def test_an_export_that_fails_keeps_the_file(office: Office, tmp_path: Path) -> None:
    """Each failure is one line with its exit code; an existing file is kept, or replaced whole."""
    old = tmp_path / "old.xlsx"
    old.write_text("old")
    for words, code, expected in (
        (["a.ods"], 2, ".xlsx"),
        (["."], 2, "name it"),
        (["a.csv"], 2, "--mart"),
        (["a.csv", "--mart", "nothing"], 2, "there is no mart nothing"),
        (["old.xlsx", "--mart", "billing_milestones"], 2, "--mart is for a CSV file"),
        (["none/a.xlsx"], 1, "cannot write"),
    ):
        found, output = office.run("export", str(tmp_path / words[0]), *words[1:])
        assert (found, expected in output) == (code, True), output
    assert old.read_text() == "old"
    assert office.run("export", str(old))[0] == 0
    assert openpyxl.load_workbook(old, read_only=True).sheetnames[:2] == ["Changes", "_exported"]
    assert os.listdir(tmp_path).count("old.xlsx") == len(list(tmp_path.glob("*.xlsx"))) == 1
    assert not list(tmp_path.glob(".export-*"))


def test_a_mart_with_more_rows_than_a_sheet_is_refused(office: Office, tmp_path: Path) -> None:
    """The message names the command that exports it as CSV; the file is kept."""
    old = tmp_path / "old.xlsx"
    old.write_text("old")
    office.job.run("delete from kantata_marts.billing_forecast")
    office.job.run(
        "insert into kantata_marts.billing_forecast (currency) "
        f"select 'EUR' from generate_series(1, {2**20})"
    )
    code, output = office.run("export", str(old))
    assert code == 2, output
    assert "billing_forecast has 1,048,576 rows, and a sheet holds 1,048,575: use CSV" in output
    assert f"milestones export {tmp_path}/old.csv --mart billing_forecast" in output
    assert old.read_text() == "old"


def test_csv_of_a_mart(office: Office, tmp_path: Path) -> None:
    """A CSV file has all rows of the mart, exactly."""
    file = tmp_path / "m.csv"
    assert office.run("export", str(file), "--mart", "billing_milestones")[0] == 0
    lines = file.read_text(encoding="utf-8-sig").splitlines()
    assert lines[0].startswith("id,title,workspace_id")
    assert (
        len(lines)
        == 1 + office.job.rows("select count(*) from kantata_marts.billing_milestones")[0][0]
    )


def test_an_empty_account(office: Office, tmp_path: Path) -> None:
    """Without milestones the sheets have their headers, and nothing can be proposed."""
    for id_ in list(office.sandbox.account.milestones):
        office.sandbox.account.delete_milestone(id_)
    office.job.sync(office.sandbox, full=True, allow_deletes=True)
    book = Book(office, tmp_path / "milestones.xlsx")
    assert book.rows == {}
    assert [cell.value for cell in book.book["billing_milestones"][1]][:2] == ["id", "title"]
    assert "no cell" in book.propose()[1]
    file = tmp_path / "m.csv"
    assert office.run("export", str(file), "--mart", "billing_milestones")[0] == 0
    assert len(file.read_text(encoding="utf-8-sig").splitlines()) == 1
