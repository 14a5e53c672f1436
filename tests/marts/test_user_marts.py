"""Users' own marts: built after ours, confined, and never in the way of ours."""

from __future__ import annotations

import re
from pathlib import Path

import duckdb
import pytest

from sources.kantata_sandbox import Sandbox
from tests.support.accounts import open_ids
from tests.support.job import Job

TEAM = """\
-- What each project has, in one row.
-- grain: project
--
-- project: The project's name.
-- amount: Its amount; "quoted" and 100%.
select
    coalesce(project, '?') as project,
    sum(amount) as amount
from kantata_marts.billing_milestones
group by 1;
"""


@pytest.fixture
def models(monkeypatch: pytest.MonkeyPatch) -> Path:
    """The configured folder of users' marts."""
    folder = Path("my_models")
    (folder / "checks").mkdir(parents=True)
    monkeypatch.setenv("WAREHOUSE__MODELS", "my_models/")
    return folder


def _problems(job: Job, sandbox: Sandbox) -> list[str]:
    result = job.sync(sandbox, full=False)
    assert result.run.status == "proven"
    return result.needs


def test_a_users_mart(job: Job, models: Path) -> None:
    """It is built, with its comments."""
    (models / "team.sql").write_text(TEAM)
    with Sandbox(milestones=60) as sandbox:
        job.synced(sandbox)
        assert _problems(job, sandbox) == []
        print(job.rows("select * from kantata_user.team"))
        print(job.rows("select * from kantata_stg.user_marts"))
        hostile = {
            "file": "select * from read_csv('/etc/passwd')" if job.name == "duckdb" else "select pg_read_file('/etc/passwd')",
            "other_schema": "select\n*\nfrom kantata.billing_milestones",
            "several": "select 1 as a; delete from kantata.billing_milestones",
            "cte": "with x as (delete from kantata_marts.billing_milestones returning id) select * from x",
            "loops": "with recursive r as (select 1::bigint as n union all select n + 1 from r) select count(*) as n from r",
            "long": "select a.n from generate_series(1, 100000) a (n) cross join generate_series(1, 100000) b (n)",
            "error": "select id,\n  amount,\n  nothing\nfrom kantata_marts.billing_milestones",
            "runtime": "select id::bigint / 0 as n, title::bigint as m from kantata_marts.billing_milestones",
            "reads_itself": "select * from kantata_user.reads_itself",
            "unknown": "select * from kantata_user.nowhere",
            "xml": "select table_to_xml('kantata.billing_milestones', true, true, '') as x",
            "sleeps": "select pg_sleep(1)",
            "setting": "select set_config('role', 'none', false) as x",
            "sub": "select (select count(*) from kantata.sync_runs) as n",
            "fine": "with t as (select * from kantata_user.team) select t.*, row_number() over (order by amount) as n from t",
            "q": "select * from query('from kantata.sync_runs')",
        }
        for name, sql in hostile.items():
            (models / f"{name}.sql").write_text(f"-- Hostile.\n{sql}\n")
        (models / "Bad.sql").write_text(TEAM)
        for line in _problems(job, sandbox):
            print(line)
        print(job.rows("select name, row_count from kantata_stg.user_marts"))
