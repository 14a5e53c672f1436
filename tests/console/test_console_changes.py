"""Changes in the console: one person proposes, another decides, and a push writes just that."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

import openpyxl
import pytest

from tests.support.console import Client, running_console
from tests.support.office import Office
from tests.support.page import Page
from tests.support.processes import run_milestones

on_duckdb = pytest.mark.parametrize("job", ["duckdb"], indirect=True)
Browser = Callable[..., Client]
NOTHING = "0" * 64
XSS = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>{{ 7*7 }}"


def _edited_workbook(client: Client, ids: list[str], day: datetime) -> bytes:
    """The workbook of the console, with another date for these milestones."""
    answer = client.get("/milestones.xlsx?status=backlog")
    book = openpyxl.load_workbook(io.BytesIO(answer.content))
    for row in book["Changes"].iter_rows(min_row=2):
        if row[0].value in ids:
            row[5].value, row[6].value = day, "the plan of May"
    edited = io.BytesIO()
    book.save(edited)
    return edited.getvalue()


@pytest.mark.long
def test_dates_from_a_workbook_are_approved_and_written(office: Office) -> None:
    """Ten dates that one person changed in Excel, another approved: the next push writes those."""
    account = office.sandbox.account
    *ids, other = office.free()[:11]
    before = {id_: dict(account.milestones[id_]) for id_ in account.milestones}
    with running_console(office.job.target) as browser:
        ana, ben = browser("ana"), browser("ben")
        assert "No change waits" in ben.get("/changes").text
        book = _edited_workbook(ana, ids, datetime(2027, 5, 31))
        answer = ana.post("/changes/propose", files={"file": ("plan.xlsx", book)})
        assert answer.headers["location"] == "/changes?proposed=10&skipped=0"
        again = ana.post("/changes/propose", files={"file": ("plan.xlsx", book)})
        assert again.headers["location"] == "/changes?proposed=0&skipped=10"
        one = {"milestone_id": other, "amount": "1.00", "reason": "less work"}
        assert ana.post("/changes/propose", one).headers["location"] == "/changes?proposed=1"
        picks = ben.picks()
        assert len(picks) == 11
        shown = Page(ben.get("/changes").text).text
        assert "the plan of May" in shown
        assert "2027-05-31" in shown
        last = next(c["change_id"] for c in office.json("changes") if c["milestone_id"] == other)
        ten = [pick for pick in picks if not pick.startswith(last)]
        answer = ben.post("/changes/approve", [("pick", pick) for pick in ten])
        assert answer.headers["location"] == "/changes?approved=10"
        assert "10 changes were approved" in ben.get("/changes?approved=10").text
        assert office.json("push")["exit_code"] == 0
        (event,) = [e for e in office.json("audit", ten[0].split()[0]) if e["after"] == "approved"]
        assert event["who"] == "ben"
        assert "approved by" in Page(ana.get(f"/changes/{ten[0].split()[0]}").text).text.lower()
    written = {i for i, record in account.milestones.items() if record != before[i]}
    assert written == set(ids)
    assert {account.milestones[i]["date_to_invoice"] for i in ids} == {"2027-05-31"}


@on_duckdb
def test_who_may_decide_on_what(office: Office) -> None:
    """The wrong role, one's own, another digest, no change: each has its status, and none acts."""
    one, two, three, four, five = office.free()[:5]
    with running_console(office.job.target) as browser:
        vera, ana, ben, cleo = (browser(name) for name in ("vera", "ana", "ben", "cleo"))
        assert ben.decide("approve", f"deadbeef {NOTHING}").status_code == 404
        for client, id_ in ((ana, one), (ana, two), (ben, three)):
            fields = {"milestone_id": id_, "date_to_invoice": "2027-03-01", "reason": "later"}
            assert client.post("/changes/propose", fields).status_code == 303
        office.run("propose", "update", four, "--set", "title=x", "--reason", "r", "--as", "BEN ")
        of = {c["milestone_id"]: f"{c['change_id']} {c['digest']}" for c in office.json("changes")}
        first, second, bens, also_bens = (of[id_] for id_ in (one, two, three, four))
        altered = f"{second.split()[0]} {NOTHING}"
        proposed = {"milestone_id": five, "title": "y", "reason": "r"}
        for client, what, picks, status in (
            (vera, "approve", [first], 403),
            (vera, "withdraw", [first], 403),
            (ana, "approve", [first], 403),
            (ana, "reject", [first], 403),
            (ana, "withdraw", [bens], 403),  # a proposer withdraws only their own
            (ben, "approve", [bens], 403),
            (ben, "approve", [also_bens], 403),  # however either was identified
            (ben, "approve", [first, bens], 403),
            (ben, "approve", [first, altered], 409),
            (ben, "approve", [first.split()[0] + " ", second], 409),
            (ben, "approve", [first, f"{first[:8]} {NOTHING}"], 404),
            (ben, "approve", [first, altered, f"x {NOTHING}"], 404),
            (ben, "reject", [first], 422),  # without a reason
            (ben, "approve", [], 422),
        ):
            answer = client.decide(what, *picks)
            assert answer.status_code == status, (what, picks, answer.text)
        assert vera.post("/changes/propose", proposed).status_code == 403
        unpaired = ben.post("/changes/approve", {"change_id": first.split()[0]})
        assert unpaired.status_code == 422
        with_reason = ben.decide("approve", first, reason="the amount is wrong")
        assert (with_reason.status_code, "takes none" in with_reason.text) == (422, True)
        assert {c["status"] for c in office.json("changes")} == {"proposed"}

        with ThreadPoolExecutor(2) as pool:  # two windows at once
            tokens = [client.token() for client in (ben, cleo)]
            id_, digest = first.split()
            done = [
                pool.submit(
                    client.post,
                    "/changes/approve",
                    {"change_id": id_, "digest": digest, "csrf_token": token},
                )
                for client, token in zip((ben, cleo), tokens, strict=True)
            ]
        assert sorted(each.result().status_code for each in done) == [303, 409]
        assert cleo.decide("reject", bens, reason=XSS).status_code == 303
        assert ana.decide("withdraw", first).status_code == 303  # approved, and not sent yet
        assert cleo.decide("withdraw", second, reason="not now").status_code == 303
        assert ben.decide("withdraw", first).status_code == 409
        statuses = {c["milestone_id"]: c["status"] for c in office.json("changes", "--all")}
        expected = ("withdrawn", "withdrawn", "rejected", "proposed")
        assert tuple(statuses[id_] for id_ in (one, two, three, four)) == expected
        history = ben.get(f"/changes/{bens.split()[0]}")
        assert "alert(1)" in Page(history.text).text
        assert ben.get("/changes?show=all").status_code == 200
        assert ben.get("/changes/deadbeef").status_code == 404


@on_duckdb
def test_enter_presses_no_button_of_a_decision(office: Office) -> None:
    """A browser presses the first button of a form at Enter: it is one that sends nothing."""
    fields = {"milestone_id": office.free()[0], "title": "x", "reason": "r"}
    with running_console(office.job.target) as browser:
        assert browser("ana").post("/changes/propose", fields).status_code == 303
        ben = browser("ben")
        (pick,) = ben.picks()
        for path in ("/changes", f"/changes/{pick.split()[0]}"):
            form = ben.get(path).text.partition('action="/changes/approve"')[2]
            assert 'formmethod="dialog"' in re.findall(r"<button[^>]*>", form)[0], path


@on_duckdb
@pytest.mark.long_on("postgres")
def test_what_the_warehouse_says_against_a_change(office: Office) -> None:
    """It is shown before the approval; a form does not undo what others did in the meantime."""
    account = office.sandbox.account
    edited, deleted, invoiced, stale = office.free()[:4]
    with running_console(office.job.target) as browser:
        ana, ben = browser("ana"), browser("ben")
        page = ana.get(f"/milestones/{stale}").text
        seen = page.partition('name="seen" value="')[2].partition('"')[0]
        for id_ in (edited, deleted, invoiced):
            fields = {"milestone_id": id_, "date_to_invoice": "2027-03-01", "reason": "later"}
            assert ana.post("/changes/propose", fields).status_code == 303
        assert 'class="finding"' not in ben.get("/changes").text
        account.update_milestone(edited, title=XSS, amount_in_cents=7)
        account.delete_milestone(deleted)
        account.invoice_milestone(invoiced)
        account.update_milestone(stale, title="edited by somebody")
        assert run_milestones("sync", "--full", timeout=600).returncode == 0
        text = Page(ben.get("/changes").text).text
        for words in ("0.07", "by now; the proposer saw", "is deleted", "is invoiced", "alert(1)"):
            assert words in text, words
        # What the form showed and the person left is not a change; what others did since stays.
        fields = {
            "milestone_id": stale, "reason": "later", "date_to_invoice": "2027-04-01",
            "seen": seen.replace("&#34;", '"'), "title": account.milestones[stale]["title"],
        }  # fmt: skip
        fields["title"] = page.partition('name="title" value="')[2].partition('"')[0]
        assert ana.post("/changes/propose", fields).status_code == 303
        (change,) = [c for c in office.json("changes") if c["milestone_id"] == stale]
        assert change["after"] == {"date_to_invoice": "2027-04-01"}
        assert "edited by somebody by now" in Page(ben.get("/changes").text).text
        for path in (
            "/",
            "/milestones",
            f"/milestones/{edited}",
            f"/milestones/{deleted}",
            "/runs",
        ):
            page = ben.get(path)
            assert page.status_code == 200, path
            assert "<script>alert" not in page.text
            assert not Page(page.text).handlers, path


@on_duckdb
def test_a_field_that_was_emptied_is_refused(office: Office) -> None:
    """A page proposes all that a person changed, or says which fields cannot be emptied."""
    id_ = next(i for i in office.free() if office.sandbox.account.milestones[i]["date_to_invoice"])
    with running_console(office.job.target) as browser:
        ana = browser("ana")
        page = ana.get(f"/milestones/{id_}").text
        fields = {"milestone_id": id_, "reason": "no date yet", "action": "update"}
        for name in ("seen", "title", "amount", "date_to_invoice"):
            (given,) = re.findall(rf'name="{name}"[^>]*? value="([^"]*)"', page)
            fields[name] = html.unescape(given)
        emptied = {**fields, "title": " ", "date_to_invoice": "", "amount": "77"}
        answer = ana.post("/changes/propose", emptied)
        text = Page(answer.text).text
        assert answer.status_code == 422
        assert "the title was emptied" in text
        assert "the date was emptied. Write a value" in text
        assert f"or restore {fields['date_to_invoice']}" in text
        assert "the amount was emptied" not in text
        assert "No change waits" in ana.get("/changes").text
        del emptied["title"], emptied["date_to_invoice"]  # a form without them leaves them alone
        assert ana.post("/changes/propose", emptied).status_code == 303
        (change,) = office.json("changes")
        assert list(change["after"]) == ["amount_in_cents"]


@on_duckdb
def test_a_form_that_is_sent_twice_proposes_one_milestone(office: Office) -> None:
    """Also if one like it is intended, and by two clicks at once; another form proposes another."""
    project = next(iter(office.sandbox.account.workspaces))
    with running_console(office.job.target) as browser:
        ana = browser("ana")

        def opened() -> dict[str, str]:
            page = ana.get("/changes/new").text
            once = page.partition('name="once" value="')[2].partition('"')[0]
            return {
                "action": "create", "project": project, "title": "x", "amount": "1", "reason": "r",
                "duplicate": "yes", "once": once, "csrf_token": token,
            }  # fmt: skip

        token = ana.token()
        form = opened()
        refused = ana.post("/changes/propose", {**form, "amount": "?"})
        assert refused.status_code == 422
        assert 'name="once" value=""' not in refused.text
        with ThreadPoolExecutor(2) as pool:
            answers = list(pool.map(lambda _: ana.post("/changes/propose", form), range(2)))
        places = sorted(answer.headers["location"] for answer in answers)
        assert places == ["/changes?proposed=1", "/changes?skipped=1"]
        for another in (opened(), {**form, "title": "y"}):  # back, and edited
            answer = ana.post("/changes/propose", another)
            assert answer.headers["location"] == "/changes?proposed=1"
        of_program = {name: text for name, text in form.items() if name != "once"}
        for _ in range(2):
            answer = ana.post("/changes/propose", of_program)
            assert answer.headers["location"] == "/changes?proposed=1"
    assert sorted(c["after"]["title"] for c in office.json("changes")) == [*"xxxxy"]


@pytest.mark.long
@on_duckdb
def test_a_new_milestone_is_in_the_project_that_was_named(office: Office) -> None:
    """By title, id or both; a number in a title is not an id, and what fits two is refused."""
    account = office.sandbox.account
    one, two, three, four, *_ = list(account.workspaces)
    titles = {
        one: f"Relaunch ({two})", two: "Shop", three: f"Website ({four})", four: "Website",
    }  # fmt: skip
    for id_, title in titles.items():
        account.update_workspace(id_, title=title)
    office.job.sync(office.sandbox)
    new = {"action": "create", "amount": "1", "reason": "r"}
    with running_console(office.job.target) as browser:
        ana = browser("ana")
        for number, (text, expected) in enumerate((
            (f"Relaunch ({two})", one),
            (f"relaunch ({two}) ({one})", one),
            (f" SHOP({two}) ", two),
            (two, two),
            ("website", four),
            (f"Website ({four}) ({three})", three),
        )):  # fmt: skip
            fields = {**new, "project": text, "title": f"new {number}"}
            assert ana.post("/changes/propose", fields).status_code == 303, text
            (change,) = [
                c for c in office.json("changes") if c["after"]["title"] == fields["title"]
            ]
            assert change["workspace_id"] == expected, text
        count = len(office.json("changes"))
        for text, words in (
            (f"Website ({four})", "or write the id alone"),
            (f"Other ({two})", "there is no project"),
            (f"({two}", "there is no project"),
            (f"{two})", "there is no project"),
        ):
            answer = ana.post("/changes/propose", {**new, "project": text, "title": "x"})
            assert (answer.status_code, words in Page(answer.text).text) == (422, True), text
        assert len(office.json("changes")) == count


@on_duckdb
def test_columns_of_a_file_that_were_ignored_are_named(office: Office) -> None:
    """After an upload the page names the columns that are not ours; a wrong currency is refused."""
    id_ = office.free()[0]
    currency = office.sandbox.account.milestones[id_]["currency"]
    head = f"milestone_id,amount,currency,{XSS.replace(',', '')[:30]},owner\n"
    with running_console(office.job.target) as browser:
        ana = browser("ana")
        for of_file, status in (("XYZ", 422), (currency, 303)):
            file = ("plan.csv", f"{head}{id_},12,{of_file},x,Eva\n".encode())
            answer = ana.post("/changes/propose", {"reason": "r"}, files={"file": file})
            assert answer.status_code == status, answer.text
            if status == 422:
                assert "line 2: currency is 'XYZ', but that of" in Page(answer.text).text
        page = ana.get(answer.headers["location"])
        assert "1 change was proposed" in page.text
        text = Page(page.text).text
        assert "These columns of the file were ignored: '<script>alert(1)</script>" in text
        assert "'owner'." in text
        assert "<script>alert" not in page.text
        many = "&".join(f"ignored={'n' * 50}{number}" for number in range(99))
        text = Page(ana.get(f"/changes?proposed=1&{many}").text).text
        assert text.count(f"'{'n' * 40}'") == 20
        assert "'…'." in text


@on_duckdb
@pytest.mark.long_on("postgres")
def test_refused_proposals_say_why(office: Office) -> None:
    """A page shows what is wrong with a form or a file, in its own words, and keeps the input."""
    id_ = office.free()[0]
    with running_console(office.job.target) as browser:
        ana = browser("ana")
        for fields, words in (
            ({"amount": "1.234"}, "finer than the minor unit"),
            ({"date_to_invoice": "2090-01-01"}, "tick the box"),
            ({"title": XSS, "reason": " "}, "the reason is missing: write one"),
            ({"title": "a\u202eb"}, "invisible"),
            ({}, "change a field"),
            ({"seen": "{"}, "load the page again"),
        ):
            answer = ana.post(
                "/changes/propose", {"milestone_id": id_, "reason": "kept reason", **fields}
            )
            assert answer.status_code == 422, fields
            assert words in Page(answer.text).text, (words, Page(answer.text).text)
            assert "--" not in Page(answer.text).text.partition("Nothing was proposed")[2][:300]
            assert "kept reason" in answer.text or "reason" in fields
            assert "<script>alert" not in answer.text
        for name, content, words in (
            ("plan.xlsx", b"PK", "cannot read plan.xlsx as a workbook"),
            ("../../x.csv", b"milestone_id,titel\n1,x\n", "x.csv: nothing was proposed"),
            ("plan.csv", f"milestone_id,title\n{id_},a\n4711,b\n".encode(), "line 3"),
            ("plan.txt", b"", "neither a workbook"),
        ):
            answer = ana.post("/changes/propose", {"reason": "r"}, files={"file": (name, content)})
            assert (answer.status_code, words in Page(answer.text).text) == (422, True), answer.text
            assert "milestones-upload" not in answer.text
        project = office.job.rows("select id, title from kantata.workspaces order by id limit 1")[0]
        new = {"action": "create", "project": f"{project[1]} ({project[0]})", "reason": "r"}
        for fields, words in (
            ({"title": XSS, "amount": "1.234"}, "finer than the minor unit"),
            ({"title": "t"}, "amount"),
            ({"title": "t", "amount": "1", "project": "no such"}, "there is no project 'no such'"),
            ({"title": "t", "amount": "1", "project": " "}, "the project is missing"),
        ):
            answer = ana.post("/changes/propose", {**new, **fields})
            assert (answer.status_code, words in Page(answer.text).text) == (422, True), answer.text
            assert "<script>alert" not in answer.text
        assert ana.post("/changes/propose", {"reason": "r"}).status_code == 422
        assert ana.post(
            "/changes/propose", {"milestone_id": "4711", "reason": "r"}
        ).status_code in (
            404,
            422,
        )
        assert "No change waits" in ana.get("/changes").text
