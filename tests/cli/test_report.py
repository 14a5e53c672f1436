"""The report: one file that people can mail, which shows texts of others as texts."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from sources.kantata_sandbox import Account, Sandbox
from tests.support.accounts import open_ids
from tests.support.job import Job
from tests.support.page import Page
from tests.support.processes import run_milestones

# The report reads marts, which are the same on both.
pytestmark = pytest.mark.parametrize("job", ["duckdb"], indirect=True)
REPORT = Path("milestones-report.html")
MARKUP = "<script>alert(1)</script><img src=//x onerror=y>{{ 7*7 }}=1+1&amp;\x1b[31m\u202e"


def command(*words: str, code: int = 0, **environment: str) -> str:
    """Run a command, which must end with this exit code; return what it prints."""
    done = run_milestones(*words, env=os.environ | environment, timeout=600)
    assert done.returncode == code, (words, done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def shown(file: Path = REPORT) -> Page:
    """The report, which must not run or load anything."""
    page = Page(file.read_text(encoding="utf-8"))
    assert not page.tags & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    assert all(link.startswith("#") for link in page.links), page.links
    assert not page.handlers
    return page


def write_markup(account: Account) -> None:
    """Write markup into every text of an account."""
    account.user["full_name"] = MARKUP
    for project in account.workspaces:
        account.update_workspace(project, title=MARKUP)
    for id_ in account.milestones:
        account.silently_update_milestone(id_, title=f"{MARKUP}{id_}")
    account.silently_update_milestone(open_ids(account)[0], currency=MARKUP[:40])


def test_report(job: Job) -> None:
    """It has each currency, says what changed since the report it replaces, and is not lost."""
    with Sandbox(milestones=300) as sandbox:
        job.synced(sandbox)
        assert "wrote milestones-report.html" in command("report")
        page = shown()
        assert {"svg", "table"} <= page.tags
        assert all(code in page.text for code in ("EUR", "USD", "JPY", "KWD"))
        assert "Nothing has changed since" in page.text
        one = open_ids(sandbox.account)[0]
        sandbox.account.update_milestone(one, title="Changed title", amount_in_cents=4_242_00)
        job.sync(sandbox)
        REPORT.chmod(0o640)
        said: dict[str, Any] = json.loads(command("report", "--json"))
        assert said["file"] == str(REPORT)
        page = shown()
        assert "Changed since the report of 20" in page.text
        assert "Changed title" in page.text
        assert REPORT.stat().st_mode & 0o777 == 0o640
        before = REPORT.read_bytes()
        command("report", "--json")
        assert "Nothing has changed since the report of" in shown().text
        Path("notes.html").write_text("mine")
        assert "is not a report" in command("report", "notes.html", code=2)
        assert "Name another file" in command("report", "missing/report.html", code=1)
        assert "Is a directory" in command("report", ".", code=2)
        assert Path("notes.html").read_text() == "mine"
        assert [path.name for path in Path().glob(".*.new")] == []
        assert len(before) < 2_000_000


def test_texts_of_others(job: Job) -> None:
    """Markup, template code and control characters in any text are shown as text."""
    with Sandbox(milestones=60) as sandbox:
        write_markup(sandbox.account)
        job.sync(sandbox)
        sandbox.account.update_milestone(
            open_ids(sandbox.account)[-1], amount_in_cents=1, title=f"{MARKUP}new"
        )
        job.sync(sandbox)
    command("report")
    page = shown()
    assert "<script>alert(1)</script>" in page.text
    assert "{{ 7*7 }}" in page.text
    assert "\x1b" not in page.text
    assert "\u202e" not in page.text


def test_no_figures(job: Job) -> None:
    """Without a warehouse there is one line; an empty account has a page that says so."""
    assert "there is no warehouse" in command("report", code=2, KANTATA_API_URL="http://localhost")
    with Sandbox(milestones=0) as sandbox:
        job.sync(sandbox)
    command("report")
    assert "The account has no milestones." in shown().text
    command("report")  # over a report that knows of no version


def test_report_after_each_run(job: Job) -> None:
    """With REPORT__PATH, `sync` and `run` write it; if they cannot, the data is published: 3."""
    with Sandbox(milestones=60) as sandbox:
        job.synced(sandbox)
        access = {
            "KANTATA_API_URL": sandbox.url,
            "KANTATA_ACCESS_TOKEN": sandbox.token,
            "REPORT__PATH": "out/report.html",
        }
        for words in (["sync"], ["run"], ["run", "--json"]):
            said = command(*words, code=3, **access)
            assert "the report was not written: cannot write out/report.html" in said, words
        assert "set REPORT__PATH to another file" in command("check", code=3, **access)
        assert "published" in said
        Path("out").mkdir()
        assert "is written after each published run" in command("check", **access)
        for words in (["sync", "--json"], ["run"]):
            command(*words, **access)
            shown(Path("out/report.html"))
            Path("out/report.html").unlink()
        assert not REPORT.exists()
