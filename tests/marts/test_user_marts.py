"""Users' own marts: built after ours, confined, and never in the way of ours."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path

import duckdb
import pytest

from pipelines.ops.export import export
from pipelines.ops.user_marts_check import check_user_marts
from sources.kantata_sandbox import Sandbox
from tests.support.accounts import open_ids
from tests.support.job import Job
from tests.support.kill_points import Point, died
from warehouse.database import connect
from warehouse.errors import WarehouseMisconfigured
from warehouse.user_marts import LIMITS, Limits, UserMartsResult, build_user_marts, plan_user_marts

BY_PROJECT = """\
-- What each project has.
-- grain: workspace_id
--
-- workspace_id: The project's id.
-- amount: Its amount; 100% of it, "as is"; it's exact.
select
    workspace_id, -- a ; that ends nothing, and kantata_user.nothing
    '%s' || min(currency) as currency,
    sum(amount) as amount
from kantata_marts.billing_milestones
group by workspace_id;
"""
LARGE = "-- Large projects.\nselect * from kantata_user.by_project where amount > 0\n"
CHECK = "-- Every amount is small.\n-- severity: {}\nselect amount from kantata_user.large\n"
PAGE = (Path(__file__).parents[2] / "warehouse" / "ANALYSTS.md").read_text()
FROM_PAGE = re.findall(r"`my_models/(\S+)`:\n\n```sql\n(.*?)```", PAGE, re.DOTALL)
ID = "select id from kantata_marts.billing_milestones"
# Each with the line and the words of what is reported, on both warehouses or on each.
WRONG: dict[str, tuple[str, int, str]] = {
    "other_schema": ("select\n*\nfrom kantata.sync_runs", 2, "it reads kantata.sync_runs"),
    "subquery": (f"{ID} where id in (select id from kantata.stories)", 2, "kantata.stories"),
    "several": ("select 1 as a; delete from kantata.billing_milestones", 2, "a single select"),
    "deletes": ("with x as (delete from kantata_marts.push_audit returning 1) select 1", 2, ""),
    "no_select": ("delete from kantata.billing_milestones", 2, "a single select"),
    "breaks_out": ("select 1 as a) limit 1; drop schema kantata cascade; select (1", 2, "syntax"),
    "error": ("select\n    id,\n    title,\n    'a',\n\n    nothing\n" + ID[10:], 7, "nothing"),
    "recursion": (
        "with recursive r as (select 1 as n union all select n from r) select count(*) as n from r",
        2, "it took longer than 1 s",
    ),
    "endless": ("select n from generate_series(1, 1000000) t (n)", 2, "more than 5,000 rows"),
    "own_rows": ("select id from kantata_user.own_rows", 2, "it reads itself"),
    "cycle_a": ("select * from kantata_user.cycle_b", 2, "through my_models/cycle_b.sql"),
    "cycle_b": ("select * from kantata_user.cycle_a", 2, "through my_models/cycle_a.sql"),
    "follows": ("select * from kantata_user.cycle_a", 2, "whose file has a problem"),
    "waits": ("select * from kantata_user.error", 2, "since kantata_user.error was not"),
    "unknown": ("select * from kantata_user.nowhere", 2, "no file builds it"),
    "Bad-Name": ("select 1 as a", 1, "rename it"),
    "no_query": ("", 1, "no query"),
    "grain": (f"-- grain: a\n{ID.replace('id', '1 as a', 1)}", 2, "one row for each a"),
    "column": (f"-- grain: id\n-- nmae: Its name.\n{ID}", 3, "nmae, which the query does not"),
    "a_view": (f"-- kind: view\n{ID}", 2, "kind is 'view'"),
}  # fmt: skip
ONLY = {
    "duckdb": {
        "file": ("select * from read_text('/etc/passwd')", 2, r"it reads read_text\(\)"),
        "named_file": ("select * from 'marts.csv'", 2, "it reads marts.csv"),
        "dynamic": ("select * from query('from kantata.sync_runs')", 2, r"it reads query\(\)"),
        "catalog": ("select * from warehouse.kantata.sync_runs", 2, "warehouse.kantata"),
        "memory": ("select length(repeat('x', 2000000000)) as n", 2, "needs more memory"),
        "writes": ("copy (select 1) to 'out.csv'", 2, "a single select"),
    },
    "postgres": {
        "file": ("select pg_read_file('/etc/passwd') as a", 2, "it uses pg_catalog.pg_read_file"),
        "dynamic": ("select query_to_xml('table x', true, true, '') as a", 2, "query_to_xml"),
        "role": ("select set_config('role', 'none', false) as a", 2, "pg_catalog.set_config"),
        "ends": ("select pg_terminate_backend(1) as a", 2, "pg_terminate_backend"),
        "of_others": ("select public.evil() as a", 2, "read-only transaction"),
        "calls": ("select public.deletes() as a", 2, "it uses public.deletes"),
        "by_hand": (ID, 2, "exists, and no file built it"),
    },
}


@pytest.fixture
def models() -> Path:
    """The folder of users' marts, which a test configures after its first sync."""
    folder = Path("my_models")
    (folder / "checks").mkdir(parents=True)
    return folder


def _build(job: Job, limits: Limits) -> UserMartsResult:
    with connect(job.target.destination) as database:
        plan = plan_user_marts(database, job.target.models)
    return build_user_marts(job.target, plan, limits=limits)


@pytest.mark.long_on("postgres")
def test_a_mart_of_a_user(job: Job, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is built after ours; one that fails keeps its last rows, and ours are published."""
    (models / "by_project.sql").write_text(BY_PROJECT)
    (models / "large.sql").write_text(LARGE)
    (models / "gone.sql").write_text(LARGE)
    with Sandbox(milestones=60) as sandbox:
        job.synced(sandbox)
        monkeypatch.setenv("WAREHOUSE__MODELS", "my_models/")
        assert job.sync(sandbox, full=False).needs == []
        built = _rows(job, "large")
        milestones = sandbox.account.milestones
        assert {row[0] for row in built} == {m["workspace_id"] for m in milestones.values()}
        assert all(currency.startswith("%s") for _, currency, _ in built)
        assert _comments(job) == {
            "workspace_id": "The project's id.",
            "currency": None,
            "amount": 'Its amount; 100% of it, "as is"; it\'s exact.',
        }
        result = export(job.target, Path("large.csv"), "kantata_user.large")
        lines = Path("large.csv").read_text(encoding="utf-8-sig").splitlines()
        assert (
            result.rows
            == {"kantata_user.large": len(built)}
            == {"kantata_user.large": len(lines) - 1}
        )
        assert lines[0] == "workspace_id,currency,amount"
        with pytest.raises(WarehouseMisconfigured, match="one of kantata_user"):
            export(job.target, Path("large.csv"), "kantata_user.larger")
        times = _built_at(job)

        (models / "checks" / "small.sql").write_text(CHECK.format("warning"))
        warning = r"my_models/checks/small\.sql:3: check small finds \d+ wrong rows .*is small\."
        found = job.sync(sandbox, full=False).needs
        assert re.fullmatch(warning, found[0])
        assert found == _build(job, LIMITS).problems  # it is built once, and its warning lasts
        now = _built_at(job)
        assert {name for name in now if now[name] != times[name]} == {"large"}
        assert job.rows("select count(distinct built_at) from kantata_stg.user_marts") == [(3,)]

        (models / "checks" / "small.sql").write_text(CHECK.format("blocking"))
        (models / "by_project.sql").write_text(BY_PROJECT.replace("sum(", "2 * sum("))
        (models / "gone.sql").unlink()
        changed = open_ids(sandbox.account)[0]
        sandbox.account.update_milestone(changed, amount_in_cents=77_700)
        result = job.sync(sandbox, full=False)
        assert (result.exit_code, result.run.status) == (3, "proven")
        (line,) = result.needs
        assert re.fullmatch(rf"{warning} kantata_user.large keeps its last rows", line), line
        assert result.run.schema_changes == ["kantata_user.gone was dropped: its file was removed"]
        assert list(_built_at(job)) == ["by_project", "large"]
        assert _rows(job, "large") == built
        twice = {id_: 2 * amount for id_, _, amount in built}
        del twice[milestones[changed]["workspace_id"]]
        assert twice.items() <= {i: amount for i, _, amount in _rows(job, "by_project")}.items()
        assert _published(job, f"where id = '{changed}'") == [Decimal(777)]

    monkeypatch.delenv("WAREHOUSE__MODELS")
    (line,) = _build(job, LIMITS).problems
    assert "2 tables in kantata_user are not rebuilt, since WAREHOUSE__MODELS is not set" in line
    monkeypatch.setenv("WAREHOUSE__MODELS", "my_model")
    with pytest.raises(
        WarehouseMisconfigured, match="names the folder my_model, and there is none"
    ):
        job.sync(sandbox, full=False)


def test_what_a_mart_of_a_user_cannot_do(
    job: Job, models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It reads the marts and nothing else, once, and ends; each problem has its file and line."""
    (models / "by_project.sql").write_text(BY_PROJECT)
    wrong = WRONG | ONLY[job.name]
    for name, (sql, _, _) in wrong.items():
        (models / f"{name}.sql").write_text(f"-- What is wrong.\n{sql}\n")
    for file, sql in FROM_PAGE:
        (models / file).write_text(sql)
    (models / "bytes.sql").write_bytes(b"-- \xff\nselect 1")
    (models / "undescribed.sql").write_text("select 1 as a")
    (models / "checks" / "grave.sql").write_text("-- A.\n-- severity: grave\nselect 1 as a")
    (models / "checks" / "ours.sql").write_text("-- A.\nselect * from kantata_marts.push_audit")
    with Sandbox(milestones=60) as sandbox:
        job.synced(sandbox)
        monkeypatch.setenv("WAREHOUSE__MODELS", "my_models/")
        if job.name == "postgres":
            job.run(
                "create schema kantata_user; create table kantata_user.by_hand as select 7 as a; "
                "create function public.deletes() returns int language sql as "
                "'delete from kantata.billing_milestones returning 1'; "
                # The planner calls what is called immutable.
                "create function public.evil() returns int immutable language plpgsql as "
                "'begin return public.deletes(); end'"
            )
        found = _build(job, Limits(seconds=1, rows=5_000))
        lines = {re.split("[/.:]", line.replace("checks/", ""))[1]: line for line in found.problems}
        assert lines.keys() == {*wrong, "bytes", "undescribed", "grave", "ours"}
        for name, (_, number, words) in wrong.items():
            pattern = rf"my_models/{name}\.sql:{number}: .*{words}"
            assert re.match(pattern, lines[name]), lines[name]
        assert "not text in UTF-8" in lines["bytes"]
        assert "no description" in lines["undescribed"]
        assert lines["grave"].startswith("my_models/checks/grave.sql:2: severity is 'grave'")
        assert "reads none" in lines["ours"]
        assert list(_built_at(job)) == ["by_project", "open_by_project"]
        assert len(job.rows("select 1 from kantata.billing_milestones")) == 60
        if job.name == "postgres":
            assert job.rows("select a from kantata_user.by_hand") == [(7,)]
        else:
            assert not any(job.target.folder.glob("*user-marts*"))
    checked = check_user_marts(job.target)
    assert checked.exit_code == 3
    assert "my_models/Bad-Name.sql:1: the name of a file" in checked.answer


@pytest.mark.long
@pytest.mark.parametrize("call", [1, 2])
def test_killed_while_it_stores(
    job: Job, models: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    """A run that dies while it stores marts of users leaves each as it was, or as it will be."""
    for name in ("a", "b"):
        (models / f"{name}.sql").write_text(
            "-- A.\nselect count(*) as n from kantata_marts.billing_milestones"
        )
    with Sandbox(milestones=60) as sandbox:
        job.synced(sandbox)
        monkeypatch.setenv("WAREHOUSE__MODELS", "my_models/")
        assert died(job, sandbox, Point("warehouse.user_marts.registry:record_built", call))
        built = _built_at(job)
        assert list(built) == ["a", "b"][: call - 1]
        assert job.sync(sandbox).needs == []
        assert _built_at(job).keys() == {"a", "b"}
        assert built.items() <= _built_at(job).items()


def _rows(job: Job, mart: str) -> list[tuple[str, str, Decimal]]:
    return sorted(job.rows(f"select * from kantata_user.{mart}"))


def _built_at(job: Job) -> dict[str, object]:
    return dict(job.rows("select name, built_at from kantata_stg.user_marts order by name"))


def _comments(job: Job) -> dict[str, str | None]:
    return dict(
        job.rows(
            "select column_name, comment from duckdb_columns() where schema_name = 'kantata_user' "
            "and table_name = 'by_project' order by column_index"
            if job.name == "duckdb"
            else "select attname, col_description(attrelid, attnum) from pg_attribute "
            "where attrelid = 'kantata_user.by_project'::regclass and attnum > 0 order by attnum"
        )
    )


def _published(job: Job, where: str) -> list[Decimal]:
    """The amounts of milestones as readers see them, who also see the marts of users."""
    sql = f"select amount from kantata_marts.billing_milestones {where}"
    if job.name == "postgres":
        return [amount for (amount,) in job.rows(sql)]
    with duckdb.connect(str(job.target.published), read_only=True) as connection:
        assert connection.execute("from kantata_user.large").fetchall()
        return [amount for (amount,) in connection.execute(sql).fetchall()]
