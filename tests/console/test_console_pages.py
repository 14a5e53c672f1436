"""The console's pages: the same figures as the marts, and always of one run."""

from __future__ import annotations

import csv
import io
import os
import re
import threading
import time
from pathlib import Path

import pytest

from tests.support.console import running_console
from tests.support.office import Office
from tests.support.page import Page
from tests.support.processes import run_milestones

on_duckdb = pytest.mark.parametrize("job", ["duckdb"], indirect=True)
_RUN = re.compile(r"Built from run <code>([^<]+)</code>")


@pytest.mark.long_on("postgres")
def test_lists_are_filtered_sorted_and_paged(office: Office) -> None:
    """Each filter gives the rows that the mart has, on the page, as CSV and as a workbook."""
    account = office.sandbox.account
    named, other, *_ = {record["workspace_id"]: None for record in account.milestones.values()}
    account.update_workspace(other, title=f"The second part of {named}")
    office.job.sync(office.sandbox)
    mart = office.job.rows(
        "select id, status, currency, amount, project, date_to_invoice::text, workspace_id "
        "from kantata_marts.billing_milestones order by id"
    )
    project, month = mart[0][4], next(row[5][:7] for row in mart if row[5])
    with running_console(office.job.target) as browser:
        vera = browser("vera")

        def ids(query: str) -> set[str]:
            text = vera.get(f"/milestones.csv?{query}").content.decode("utf-8-sig")
            return {row["id"] for row in csv.DictReader(io.StringIO(text))}

        for query, expected in (
            ("", {row[0] for row in mart}),
            ("status=overdue&currency=USD", {r[0] for r in mart if r[1:3] == ("overdue", "USD")}),
            (f"month={month}", {row[0] for row in mart if row[5] and row[5][:7] == month}),
            ("month=9999-12", set()),  # the last one that Python has a date of
            (f"q={mart[3][0]}", {mart[3][0]}),
            ("q=%25", set()),  # no wildcard
            ("status=backlog", {r[0] for r in mart if r[1] in ("overdue", "scheduled")}),
        ):
            assert ids(query) == expected, query
            shown = Page(vera.get(f"/milestones?{query}").text).text
            assert (f"{len(expected)} milestone" in " ".join(shown.split())) == bool(expected)
        assert ids(f"project=id:{named}") == {row[0] for row in mart if row[6] == named}
        assert ids(f"project={named}") == {row[0] for row in mart if row[6] in (named, other)}
        found = ids("project=" + project.replace("&", "%26").replace(" ", "+"))
        assert found >= {row[0] for row in mart if row[4] == project}

        pages = [vera.get(f"/milestones?sort=amount&page={page}").text for page in (1, 2, 101)]
        links = [re.findall(r'<a href="/milestones/(\d+)"', page) for page in pages]
        assert [len(each) for each in links] == [50, len(mart) - 50, 0]
        assert len({id_ for each in links for id_ in each}) == len(mart)
        amounts = {row[0]: (row[2], row[3]) for row in mart}
        in_order = [amounts[id_] for each in links for id_ in each]
        assert in_order == sorted(in_order)
        assert vera.get("/milestones.xlsx").content[:2] == b"PK"
        wrong_months = ("month=2027-13", "month=0000-01")
        for wrong in ("status=x", "sort=id;drop", *wrong_months, "page=0", "q=%00"):
            assert vera.get(f"/milestones?{wrong}").status_code == 400, wrong
        overview = vera.get("/")
        assert overview.status_code == 200
        for link in sorted(set(re.findall(r'href="(/milestones\?[^"]+)"', overview.text)))[:6]:
            assert vera.get(link.replace("&amp;", "&")).status_code == 200, link
        runs = vera.get("/runs").text
        assert "full scan" in runs
        assert "validated" in runs


@on_duckdb
@pytest.mark.long_on("postgres")
def test_no_warehouse_and_no_ledger(
    office: Office, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without a file, or with a damaged one, a page says what to do; nothing else fails."""
    downloads = tmp_path / "downloads"
    downloads.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(downloads))
    published = office.job.target.published
    assert published
    content = published.read_bytes()
    with running_console(office.job.target) as browser:
        vera = browser("vera")
        assert vera.get("/changes").status_code == 200  # without a ledger
        published.unlink()
        for path in (
            "/",
            "/milestones",
            "/changes",
            "/runs",
            "/milestones.csv",
            "/milestones.xlsx",
        ):
            page = vera.get(path)
            assert (page.status_code, "milestones sync" in page.text) == (503, True), path
            assert "Traceback" not in page.text
        published.write_bytes(b"not a database" * 1000)
        assert vera.get("/").status_code == 503
        assert list(downloads.glob("milestones-console-*")) == []  # none is left half written
        published.write_bytes(content)
        assert vera.get("/").status_code == 200


@on_duckdb
def test_warehouse_moved_while_the_console_runs(
    office: Office, postgres_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page and form says where the warehouse went; no new ledger begins in the old place."""
    one, two, *_ = office.free()
    office.json("propose", "delete", one, "--reason", "r", "--as", "ann")
    monkeypatch.setenv("DESTINATION__POSTGRES__CREDENTIALS", postgres_url)
    with running_console(office.job.target) as browser:
        ana, ben = browser("ana"), browser("ben")
        (pick,) = ben.picks()
        tokens = {client: client.token() for client in (ana, ben)}
        moved = run_milestones("move", env=os.environ)
        assert moved.returncode == 0, moved.stderr
        change_id, _, digest = pick.partition(" ")
        approval = {"change_id": change_id, "digest": digest, "csrf_token": tokens[ben]}
        proposal = {"milestone_id": two, "amount": "1.00", "reason": "r", "csrf_token": tokens[ana]}
        answers = [ana.get(path) for path in ("/", "/milestones", "/changes", "/runs")]
        answers.append(ana.post("/changes/propose", proposal))
        answers.append(ben.post("/changes/approve", approval))
        for answer in answers:
            assert answer.status_code == 503, answer.url
            assert "set WAREHOUSE__DESTINATION=postgres" in answer.text
        assert not Path(".milestones/ledger.sqlite").exists()


@pytest.mark.long
@on_duckdb
def test_published_file_replaced_while_requests_run(office: Office) -> None:
    """No page mixes two runs, none fails, and the new run is shown within five seconds."""
    account, job = office.sandbox.account, office.job
    id_ = office.free()[0]
    seen: list[tuple[float, str, str]] = []
    stop = threading.Event()
    with running_console(job.target) as browser:
        vera = browser("vera")

        def read() -> None:
            while not stop.wait(0.05):
                page = vera.get(f"/milestones/{id_}")
                assert page.status_code == 200, page.text
                title = re.search(r"<h1><bdi>([^<]+)", page.text)
                run = _RUN.search(page.text)
                assert title
                assert run
                seen.append((time.monotonic(), run[1], title[1]))

        readers = [threading.Thread(target=read) for _ in range(2)]
        for reader in readers:
            reader.start()
        published = []
        for number in range(3):
            account.update_milestone(id_, title=f"version {number}")
            assert run_milestones("sync", timeout=600).returncode == 0
            published.append(time.monotonic())
        while time.monotonic() < published[-1] + 5 and seen[-1][2] != "version 2":
            time.sleep(0.05)
        stop.set()
        for reader in readers:
            reader.join()
    titles: dict[str, set[str]] = {}
    for _, run_id, title in seen:
        titles.setdefault(run_id, set()).add(title)
    assert all(len(each) == 1 for each in titles.values()), titles
    assert seen[-1][2] == "version 2"
    assert len(titles) >= 3
