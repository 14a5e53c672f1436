"""The job that builds marts on Spark: which run it reads, what it writes, and its errors."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipelines.ops.lake_job import main
from sources.kantata_sandbox import Sandbox
from tests.support.accounts import open_ids
from tests.support.job import Job
from tests.support.spark_servers import Server, sail, session

pytest.importorskip("pysail", reason="no Spark: `make test-spark` installs it")
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from tests.support.lake_tables import open_warehouse, write_lake

PAGE = Path(__file__).parents[2] / "pipelines" / "PRODUCTION.md"
pytestmark = pytest.mark.spark


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Two published runs in the lake ``lake``; the second one has a milestone less."""
    monkeypatch.setenv("KANTATA_API_URL", "")
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", "")
    job, found = Job("duckdb"), []
    with Sandbox(milestones=40) as sandbox:
        for _ in range(2):
            job.sync(sandbox)
            with open_warehouse(job.target.loader) as connection:
                found.append(write_lake(connection, tmp_path / "lake"))
            sandbox.account.delete_milestone(open_ids(sandbox.account)[0])
    return found


def section() -> dict[str, list[str]]:
    """The blocks of code in the section of the page for operators, by language, for the lake."""
    (text,) = re.findall(r"## Compute the marts on Spark\n(.*?)(?=\n## |$)", PAGE.read_text(), re.S)
    text = text.replace("s3://bucket/milestones", str(Path("lake").absolute()))
    blocks: dict[str, list[str]] = {}
    for language, block in re.findall(r"```(\w+)\n(.*?)```", text, re.S):
        blocks.setdefault(language, []).append(block)
    return blocks


def rows(path: str, version: int | None = None) -> pa.Table:
    """The rows of a Delta table of the lake."""
    return DeltaTable(f"lake/{path}", version=version).to_pyarrow_table()


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """The only line that the job wrote."""
    captured = capsys.readouterr()
    (line,) = (captured.out + captured.err).splitlines()
    return line


def test_it_reads_one_run(
    runs: list[str], single: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """It reads the versions of the last run, or of the one that is named, and no later ones."""
    published = rows("kantata_marts/billing_milestones")
    # A copy of a third run is under way: nothing of it is published yet.
    for table in ("billing_milestones", "billing_milestone_versions"):
        some = rows(f"kantata/{table}").slice(0, 7)
        write_deltalake(f"lake/kantata/{table}", some, mode="overwrite")
    versions = {path: DeltaTable(path).version() for path in Path("lake/kantata_marts").iterdir()}

    def built(*words: str, schema: str = "spark_marts") -> set[str]:
        assert main(["lake", "--remote", single.remote, "--schema", schema, *words]) == 0
        return set(rows(f"{schema}/billing_milestones")["id"].to_pylist())

    assert built() == set(published["id"].to_pylist())
    assert said(capsys).startswith("Built 12 marts with ")
    assert set(rows("spark_marts/built_marts")["run_id"].to_pylist()) == {runs[1]}
    earlier = built("--run", runs[0])
    assert earlier == set(rows("kantata_marts/billing_milestones", 0)["id"].to_pylist())
    assert len(earlier) == published.num_rows + 1
    listed = rows("spark_marts/built_marts")
    assert set(listed["run_id"].to_pylist()) == {runs[0]}
    assert sorted(listed["table_name"].to_pylist()) == sorted(
        path.name for path in Path("lake/spark_marts").iterdir() if path.name != "built_marts"
    )
    assert built(schema="other") == set(published["id"].to_pylist())
    assert {path: DeltaTable(path).version() for path in versions} == versions


def test_it_compares_its_marts_with_the_published_ones(
    runs: list[str], single: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """A mart with other sums than were published ends the job, and no mart is listed as built."""
    assert main(["lake", "--remote", single.remote]) == 0
    capsys.readouterr()
    published = rows("published_runs")
    mart = pc.and_(
        pc.equal(published["table_name"], "kantata_marts.billing_milestones"),
        pc.equal(published["run_id"], runs[1]),
    )
    sums = json.loads(published.filter(mart)["amount_by_currency"].to_pylist()[0])
    other = json.dumps(sums | {"USD": "1.00"})
    names = published.schema.names
    changed = pc.if_else(mart, other, published["amount_by_currency"])
    published = published.set_column(
        names.index("amount_by_currency"), "amount_by_currency", changed
    )
    write_deltalake("lake/published_runs", published, mode="overwrite")
    assert main(["lake", "--remote", single.remote]) == 1
    line = said(capsys)
    assert line.startswith("error: billing_milestones built on Spark differs from the mart of run")
    assert f"USD {sums['USD']}" in line
    assert "USD 1.00" in line
    assert rows("spark_marts/built_marts").num_rows == 0


def test_errors(
    runs: list[str], single: Server, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each error is one line that names what to do, with its exit code."""

    def refused(code: int, words: str, *arguments: str) -> None:
        assert main(arguments) == code
        line = said(capsys)
        assert line.startswith("error: ")
        assert words in line

    remote = ("--remote", single.remote)
    refused(2, "shows no run: set [lake] url there", "empty", *remote)
    refused(2, f"does not show run x. It shows {', '.join(runs)}", "lake", "--run", "x", *remote)
    refused(2, "cannot be the schema", "lake", "--schema", "kantata_marts", *remote)
    refused(2, "cannot be the schema", "lake", "--schema", "../kantata", *remote)
    refused(
        75,
        "no Spark Connect server answers at 127.0.0.1:1: ",
        "lake",
        "--remote",
        "sc://127.0.0.1:1",
    )
    refused(2, "is no URL of Spark Connect", "lake", "--remote", "http://127.0.0.1:1")
    refused(2, "no Spark session: ", "lake")
    for file in Path("lake/kantata/stories").glob("*.parquet"):
        file.unlink()
    refused(1, f"Spark failed on the lake in {tmp_path}/lake: ", "lake", *remote)
    assert rows("spark_marts/built_marts").num_rows == 0


def test_the_page_for_operators(runs: list[str], single: Server) -> None:
    """Its command, its lines of Python and its queries work."""
    blocks, marts = section(), "kantata_marts/backlog_bridge"
    _, command = blocks["sh"][0].strip().splitlines()
    words = shlex.split(command.replace("sc://spark.example.com:15002", single.remote))
    assert words[:2] == [".venv/bin/python", "-m"]
    environment = os.environ | {"PYTHONPATH": str(PAGE.parents[1])}
    done = subprocess.run(
        [sys.executable, *words[1:]], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("Built 12 marts with ")
    with session(single) as spark:
        names = {"spark": spark}
        exec(blocks["python"][0], names)  # noqa: S102 - it is ours
        assert names["rows_of_each_mart"]["backlog_bridge"] == rows(marts).num_rows
        run, bridge = (spark.sql(query).toArrow() for query in blocks["sql"])
    assert run["run_id"].to_pylist() == [runs[1]]
    columns = ["month", "currency", "opening", "closing"]
    expected = (
        rows(marts).select(columns).sort_by([("currency", "ascending"), ("month", "ascending")])
    )
    assert bridge.to_pylist() == expected.to_pylist()


def test_one_worker_is_too_small(
    runs: list[str], tmp_path: Path, cluster: Server, capsys: pytest.CaptureFixture[str]
) -> None:
    """What two workers build, one such worker cannot: so each of the two ran some of the tasks."""
    with sail(tmp_path / "one", workers=1) as server:
        assert main(["lake", "--remote", server.remote]) == 1
    assert "worker task slots, but the configured maximum is 8" in said(capsys)
    assert main(["lake", "--remote", cluster.remote]) == 0
    peers = "ReportWorkerKnownPeersRequest { driver_id: 1, worker_id: %s, peer_worker_ids: [1, 2] }"
    log = cluster.log.read_text()
    assert all(peers % worker in log for worker in (1, 2))
