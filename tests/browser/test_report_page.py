"""The report in a real browser: it loads nothing, fits, prints, and can be read by everybody."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.accounts import open_ids
from tests.support.chromium import MARKS
from tests.support.job import Job
from tests.support.processes import run_milestones

axe = pytest.importorskip(
    "axe_playwright_python.sync_playwright", reason="no playwright: `make test-browser` installs it"
)
pytestmark = MARKS
TITLE = "<b>bold</b> {{ 1 }} " + "long" * 60


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Path:
    """A report with a section of every kind, and with odd texts."""
    monkeypatch.setenv("KANTATA_API_URL", "")
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", "")
    job = Job("duckdb")
    with Sandbox(milestones=300) as sandbox:
        account = sandbox.account
        job.synced(sandbox)
        dated = [i for i in open_ids(account) if account.milestones[i]["date_to_invoice"]]
        for number, id_ in enumerate(dated[:12]):
            account.update_milestone(id_, title=TITLE, date_to_invoice=f"2031-0{number % 9 + 1}-28")
        account.update_milestone(dated[12], amount_in_cents=-987_654_321)
        for project in account.workspaces:
            account.update_workspace(project, title=TITLE)
        job.sync(sandbox)
    done = run_milestones("report", env=dict(os.environ), timeout=600)
    assert done.returncode == 0, done.stderr
    return Path("milestones-report.html").absolute()


def test_report_page(browser: Any, report: Path) -> None:  # noqa: ANN401 - it has no types
    """At each width and in both colour schemes: no request, no violation, nothing cut off."""
    for width in (360, 768, 1600):
        for scheme in ("light", "dark"):
            with browser.new_context(
                viewport={"width": width, "height": 900}, color_scheme=scheme
            ) as context:
                page, requests, said = context.new_page(), [], []
                page.on("request", lambda request, to=requests: to.append(request.url))
                page.on("console", lambda message, to=said: to.append(message.text))
                page.goto(report.as_uri())
                assert requests == [report.as_uri()]
                assert said == []
                assert page.evaluate("document.documentElement.scrollWidth") <= width
                found = axe.Axe().run(page).response["violations"]
                assert [(v["id"], v["impact"]) for v in found] == []
                assert page.locator("svg:visible").count() > 4
                assert "<b>bold</b> {{ 1 }}" in page.inner_text("body")
                assert page.locator("main b").count() == 0


def test_report_prints_on_a4(browser: Any, report: Path) -> None:  # noqa: ANN401 - it has no types
    """No table is wider than the paper."""
    page = browser.new_page(viewport={"width": 680, "height": 1000})  # A4 less its margins
    page.goto(report.as_uri())
    page.emulate_media(media="print")
    assert page.evaluate("document.documentElement.scrollWidth") <= 680
    assert page.pdf(format="A4").startswith(b"%PDF")
    page.close()
