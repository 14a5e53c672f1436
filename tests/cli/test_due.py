"""What is to be invoiced: on the command line, as JSON, and once a week by the webhook."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest

from pipelines.ops.job import run_job
from pipelines.runtime.observer import RunObserver
from sources.kantata_sandbox import Sandbox
from tests.support.accounts import open_ids
from tests.support.job import Job
from tests.support.processes import run_milestones
from tests.support.webhook import webhook

BACKLOG = """
select currency, sum(amount - not_due), sum(amount) from kantata_marts.billing_backlog
group by 1 order by 1
"""


def due(*words: str, code: int = 0) -> str:
    """Run the command; return what it prints."""
    done = run_milestones("due", *words, env=dict(os.environ), timeout=600)
    assert done.returncode == code, done.stderr
    return done.stdout + done.stderr


def due_json(*words: str) -> Any:  # noqa: ANN401 - any JSON
    """The command's JSON."""
    return json.loads(due("--json", *words))


@pytest.mark.parametrize("job", ["duckdb"], indirect=True)
def test_due_equals_the_backlog(job: Job) -> None:
    """Sums by currency are those of the mart, now and by the last day there is."""
    with Sandbox(milestones=300) as sandbox:
        account = sandbox.account
        for id_ in open_ids(account)[:2]:
            account.update_milestone(id_, date_to_invoice="2031-02-03", title="[red]Last[/]")
        job.sync(sandbox)
        backlog = job.rows(BACKLOG)
        now, ever = due_json(), due_json("--until", "9999-12-31", "--by", "project")
        assert {c["currency"]: Decimal(c["amount"]) for c in now["currencies"]} == {
            code: amount for code, amount, _ in backlog if amount
        }
        assert {c["currency"]: Decimal(c["amount"]) for c in ever["currencies"]} == {
            code: amount for code, _, amount in backlog
        }
        for currency in (*now["currencies"], *ever["currencies"]):
            projects = currency["projects"]
            assert sum(Decimal(p["amount"]) for p in projects) == Decimal(currency["amount"])
            overdue = [Decimal(p["overdue"]) for p in projects]
            assert overdue == sorted(overdue, reverse=True)
        rows = [row for c in now["currencies"] for p in c["projects"] for row in p["rows"]]
        assert max(row["date_to_invoice"] for row in rows) <= now["as_of"]
        assert "rows" not in ever["currencies"][0]["projects"][0]
        text = due("--until", "2031-02-03")
        assert "[red]Last[/]" in text
        assert "dated up to 2031-02-03" in text
        assert "nothing is to be invoiced" in due("--until", "1999-12-31")
        assert "write a real date" in due("--until", "3/4/2027", code=2)


@pytest.mark.long_on("postgres")
def test_digest_is_posted_once_a_week(job: Job, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first run of the day posts it; a refused one comes with the next run."""
    clock = datetime.now(UTC)
    monkeypatch.setenv("WAREHOUSE__DESTINATION", job.name)
    monkeypatch.setenv("ALERTS__DIGEST", f"{clock:%A}")
    notes: list[str] = []

    def run(days: float = 0) -> None:
        run_job(
            job.name,
            observer=RunObserver(note=notes.append),
            now=lambda: clock + timedelta(days=days),
        )

    with Sandbox(milestones=60) as sandbox, webhook() as hook:
        monkeypatch.setenv("ALERTS__WEBHOOK_URL", hook.url)
        job.synced(sandbox)
        hook.status = 500
        run()
        assert any("the digest was not sent" in note for note in notes)
        hook.status = 200
        run()
        (text,) = hook.texts
        assert text.startswith("To invoice, dated up to ")
        assert " overdue; the most: " in text
        run()
        assert len(hook.texts) == 1


def test_digest_names_a_day(monkeypatch: pytest.MonkeyPatch) -> None:
    """Anything else is refused before anything is done."""
    monkeypatch.setenv("ALERTS__DIGEST", "weekly")
    assert "such as monday" in due(code=2)
