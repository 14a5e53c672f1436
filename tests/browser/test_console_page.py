"""The console in a real browser: each person's journey, at each width, with and without scripts."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.chromium import MARKS
from tests.support.console import PASSWORD, running_console
from tests.support.job import Job
from tests.support.office import Office

axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="no playwright: `make test-browser` installs it"
)
pytestmark = MARKS
XSS = "<img src=x onerror=alert(1)><script>alert(2)</script>{{ 7*7 }}\"'>" + "long" * 40
Login = Callable[..., Any]


class _Clock:
    """A clock that tests advance."""

    def __init__(self) -> None:
        self.time = datetime.now(UTC)

    def __call__(self) -> datetime:
        """The time."""
        return self.time


@pytest.fixture
def clock() -> _Clock:
    """The console's clock."""
    return _Clock()


@pytest.fixture
def office(monkeypatch: pytest.MonkeyPatch) -> Iterator[Office]:
    """An office with 400 milestones, some with odd texts."""
    monkeypatch.setenv("KANTATA_API_URL", "")
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", "")
    monkeypatch.setenv("PUSH__ENABLED", "true")
    with Sandbox(milestones=400) as sandbox:
        account = sandbox.account
        office = Office(Job("duckdb"), sandbox)
        account.update_milestone(office.free()[0], title=XSS)
        account.update_workspace(next(iter(account.workspaces)), title=XSS)
        office.job.sync(sandbox)
        account.update_milestone(office.free()[1], amount_in_cents=5)
        office.job.sync(sandbox)
        yield office


@pytest.fixture
def log_in(browser: Any, office: Office, clock: _Clock) -> Iterator[Login]:  # noqa: ANN401 - it has no types
    """Open a window in which somebody is logged in; nothing may be reported in its log."""
    said: list[str] = []
    contexts = []
    with running_console(office.job.target, now=clock) as opened:
        url = opened().url

        def window(name: str, **options: Any) -> Any:  # noqa: ANN401 - it has no types
            contexts.append(browser.new_context(base_url=url, **options))
            page = contexts[-1].new_page()
            page.on("console", lambda message: said.append(message.text))
            page.on("dialog", lambda dialog: said.append(f"dialog {dialog.message}"))
            page.on("request", lambda r: None if r.url.startswith(url) else said.append(r.url))
            page.goto("/")
            page.fill("#username", name)
            page.fill("#password", PASSWORD)
            page.keyboard.press("Enter")
            page.wait_for_selector("h1:text('Overview')")
            return page

        yield window
        for context in contexts:
            context.close()
    expected = ("404", "409")  # answers that the browser reports, too
    assert [line for line in said if not any(f"status of {s}" in line for s in expected)] == []


def _rules(page: Any, width: int) -> None:  # noqa: ANN401 - it has no types
    assert page.evaluate("document.documentElement.scrollWidth") <= width, page.url
    found = axe.Axe().run(page).response["violations"]
    assert [(v["id"], v["impact"], v["nodes"][0]["html"]) for v in found] == [], page.url


def test_pages_at_each_width(log_in: Login, office: Office) -> None:
    """Light and dark, narrow and wide: no violation, nothing cut off, no text of others as code."""
    odd, changed, *others = office.free()
    fields = ["--set", "date_to_invoice=2027-08-01", "--reason", XSS, "--as", "ana"]
    for id_ in (odd, *others[:3]):
        assert office.run("propose", "update", id_, *fields)[0] == 0
    change = office.json("changes")[0]["change_id"]
    for width, scheme in ((360, "dark"), (360, "light"), (1600, "light"), (1600, "dark")):
        page = log_in("ben", viewport={"width": width, "height": 900}, color_scheme=scheme)
        for path in (
            "/", "/milestones", f"/milestones/{odd}", f"/milestones/{changed}", "/changes",
            f"/changes/{change}", "/changes/new", "/runs", "/nothing", "/milestones?q=nothing",
        ):  # fmt: skip
            page.goto(path)
            _rules(page, width)
            assert page.locator("main img, main script").count() == 0
        page.click("button:text('Log out')")
        _rules(page, width)


def test_a_viewer_finds_what_is_overdue(log_in: Login, office: Office) -> None:
    """From the overview to the rows, filtered while typing; the address can be sent to others."""
    page = log_in("vera")
    page.locator(".big a").first.click()
    page.wait_for_url("**/milestones?*status=overdue*")
    assert page.locator("table.list tbody .badge").all_inner_texts() == ["overdue"] * min(
        50, page.locator("table.list tbody tr").count()
    )
    title = page.locator("table.list tbody th a").first.inner_text()
    page.fill("#q", title)
    page.wait_for_url("**/milestones?q=*")
    assert set(page.locator("table.list tbody th a").all_inner_texts()) == {title}
    other = log_in("vera")
    other.goto(page.url)
    assert other.locator(".summary").inner_text() == page.locator(".summary").inner_text()
    assert page.locator("text=Propose").count() == 0
    page.goto("/changes")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the content"


def _upload(page: Any, book: bytes, tmp_path: Path) -> None:  # noqa: ANN401 - it has no types
    file = tmp_path / "plan.xlsx"
    file.write_bytes(book)
    page.goto("/changes")
    page.set_input_files("#file", file)
    page.click("#upload button")


@pytest.mark.parametrize("has_script", [True, False])
def test_one_change_and_fifty(
    log_in: Login, office: Office, tmp_path: Path, has_script: bool
) -> None:
    """A date from a page, fifty by a workbook; one approved, then fifty; the push writes those."""
    one, two, *many = office.free()[2:54]
    ana = log_in("ana", java_script_enabled=has_script)
    ana.goto(f"/milestones/{one}")
    ana.fill("#day", "2027-09-30")
    ana.fill("#reason", "the client asks for it")
    ana.click("button:text-is('Propose')")
    assert "1 change was proposed" in ana.inner_text("main")
    ana.goto("/milestones?status=backlog")
    with ana.expect_download() as download:
        ana.click("a:text('Excel')")
    book = openpyxl.load_workbook(io.BytesIO(Path(download.value.path()).read_bytes()))
    for row in book["Changes"].iter_rows(min_row=2):
        if row[0].value in many:
            row[5].value, row[6].value = datetime(2027, 10, 1), "new plan"
    edited = io.BytesIO()
    book.save(edited)
    _upload(ana, edited.getvalue(), tmp_path)
    assert f"{len(many)} changes were proposed" in ana.inner_text("main")

    ben = log_in("ben", java_script_enabled=has_script)
    ben.goto(f"/milestones/{one}")
    ben.click("a[href^='/changes/']")
    ben.click("button:text('Approve')")
    assert "1 change was approved" in ben.inner_text("main")
    if has_script:
        ben.check("input.all")
    else:
        for box in ben.locator("input[name=pick]").all():
            box.check()
    ben.locator("tr:has(.badge.approved) input[name=pick]").uncheck()
    if has_script:
        assert ben.inner_text(".chosen") == f"{len(many)} changes chosen"
    ben.click("button:text('Approve')")
    assert f"{len(many)} changes were approved" in ben.inner_text("main")
    account = office.sandbox.account
    before = {id_: dict(record) for id_, record in account.milestones.items()}
    assert office.json("push")["exit_code"] == 0
    written = {id_ for id_, record in account.milestones.items() if record != before[id_]}
    assert written == {one, *many}
    assert two not in written


@pytest.mark.parametrize("has_script", [True, False])
def test_enter_in_the_reason_decides_nothing(
    log_in: Login, office: Office, has_script: bool
) -> None:
    """Only a button decides: Enter in the reason to reject neither approves nor rejects."""
    fields = ["--set", "title=New", "--reason", "r", "--as", "ana"]
    office.run("propose", "update", office.free()[2], *fields)
    (change,) = office.json("changes")
    ben = log_in("ben", java_script_enabled=has_script)
    for path in ("/changes", f"/changes/{change['change_id']}"):
        ben.goto(path)
        if path == "/changes":
            ben.check("input[name=pick]")
            ben.keyboard.press("Enter")
        ben.fill("#why", "the amount is wrong")
        ben.keyboard.press("Enter")
        ben.wait_for_timeout(300)
        assert ben.input_value("#why") == "the amount is wrong", path
    assert office.json("changes")[0]["status"] == "proposed"
    ben.click("button:text('Reject')")
    assert "1 change was rejected" in ben.inner_text("main")


def test_a_new_milestone(log_in: Login, office: Office) -> None:
    """A form proposes it, somebody else approves it, and the push creates exactly that."""
    id_, title = office.job.rows("select id, title from kantata.workspaces order by id limit 1")[0]
    ana = log_in("ana")
    ana.goto("/milestones")
    ana.click("a:text('Propose a new milestone')")
    assert f"{title} ({id_})" in ana.locator("#projects option").evaluate_all(
        "options => options.map(option => option.value)"
    )
    ana.fill("#project", f"{title} ({id_})")
    for field, value in (("title", "Final report"), ("amount", "7"), ("day", "2027-11-30")):
        ana.fill(f"#{field}", value)
    ana.fill("#reason", "agreed with the client")
    ana.click("button:text-is('Propose')")
    assert "1 change was proposed" in ana.inner_text("main")
    ben = log_in("ben")
    ben.goto("/changes")
    assert "Final report" in ben.inner_text("main")
    ben.check("input[name=pick]")
    ben.click("button:text('Approve')")
    before = set(office.sandbox.account.milestones)
    assert office.json("push")["exit_code"] == 0
    account = office.sandbox.account.milestones
    (created,) = [account[new] for new in account.keys() - before]
    shown = (created["title"], created["workspace_id"], created["date_to_invoice"])
    assert shown == ("Final report", id_, "2027-11-30")


def test_two_windows_and_an_ended_session(log_in: Login, office: Office, clock: _Clock) -> None:
    """The second window is told that somebody was first; an ended session leads to the login."""
    ids = office.free()[2:4]
    for id_ in ids:
        fields = ["--set", "title=New", "--reason", "r", "--as", "ana"]
        office.run("propose", "update", id_, *fields)
    first, second = log_in("ben"), log_in("cleo")
    for page in (first, second):
        page.goto("/changes")
        page.locator("input[name=pick]").first.check()
    first.click("button:text('Approve')")
    second.click("button:text('Approve')")
    assert "Nothing was decided" in second.inner_text("#problems")
    assert "is approved already" in second.inner_text("#problems")
    assert second.evaluate("document.activeElement.id") == "problems"
    second.locator("input[name=pick]").first.check()
    clock.time += timedelta(hours=3)
    second.click("button:text('Approve')")
    second.wait_for_url("**/login?next=%2Fchanges")
    second.fill("#username", "cleo")
    second.fill("#password", PASSWORD)
    second.click("button:text('Log in')")
    second.wait_for_selector("h1:text('Changes')")
    assert sorted(c["status"] for c in office.json("changes")) == ["approved", "proposed"]
