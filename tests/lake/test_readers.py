"""Engines that others wrote read a pinned run of the lake: sums by currency are exact."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import closing
from decimal import Decimal
from pathlib import Path

import pytest

pytest.importorskip("deltalake")

import duckdb

from tests.support.accounts import open_ids
from tests.support.job import Job
from tests.support.lake import Lake, synced
from tests.support.object_store import BUCKET, KEY, SECRET
from tests.support.postgres import free_port

pytestmark = pytest.mark.lake
_MARTS = ("kantata_marts.billing_milestones", "kantata_marts.billing_backlog")
_PRODUCTION = Path(__file__).parents[2] / "pipelines" / "PRODUCTION.md"
_ASK_SAIL = Path(__file__).parents[1] / "support" / "ask_sail.py"
Sums = dict[str, Decimal]


@pytest.fixture
def pinned(job: Job, lake: Lake) -> dict[str, tuple[int, Sums]]:
    """The version and the sums of an earlier run's marts; a later run has other ones."""
    with synced(job, milestones=300, seed=41) as sandbox:
        run_id = job.sync(sandbox, full=False).run.run_id
        expected = {
            name: dict(job.rows(f"select currency, sum(amount) from {name} group by currency"))
            for name in _MARTS
        }
        ids = open_ids(sandbox.account)
        with sandbox.account.change():
            for id_ in ids:
                sandbox.account.update_milestone(id_, amount_in_cents=12_345)
        sandbox.account.delete_milestone(ids[0])
        later = job.sync(sandbox, full=False)
        assert later.needs == []
    rows = lake.pinned(run_id)
    for name, sums in expected.items():
        published = json.loads(rows[name]["amount_by_currency"])
        assert {code: Decimal(text) for code, text in published.items()} == sums
        now = json.loads(lake.pinned()[name]["amount_by_currency"])
        assert now != published
    return {name: (rows[name]["version"], sums) for name, sums in expected.items()}


def test_polars_reads_a_pinned_run(lake: Lake, pinned: dict[str, tuple[int, Sums]]) -> None:
    """Polars reads a version, and adds its decimals up exactly."""
    polars = pytest.importorskip("polars")
    for name, (version, sums) in pinned.items():
        frame = polars.read_delta(lake.address(name), version=version)
        found = frame.group_by("currency").agg(polars.col("amount").sum()).rows()
        assert dict(found) == sums


def test_duckdb_reads_a_pinned_run(lake: Lake, pinned: dict[str, tuple[int, Sums]]) -> None:
    """DuckDB reads a version through Arrow."""
    with closing(duckdb.connect()) as connection:
        for name, (version, sums) in pinned.items():
            connection.register("mart", lake.table(name, version))
            sql = "select currency, sum(amount) from mart group by currency"
            assert dict(connection.execute(sql).fetchall()) == sums


def test_clickhouse_reads_a_pinned_run(lake: Lake, pinned: dict[str, tuple[int, Sums]]) -> None:
    """ClickHouse reads a version with its own reader of Delta."""
    pytest.importorskip("chdb")
    for name, (version, sums) in pinned.items():
        found = _clickhouse(
            f"select currency, toString(sum(amount)) from deltaLakeLocal('{lake.address(name)}') "
            f"group by currency settings delta_lake_snapshot_version = {version}"
        )
        assert found == sums


def test_sail_reads_a_pinned_run(lake: Lake, pinned: dict[str, tuple[int, Sums]]) -> None:
    """Sail, which computes as Spark does, reads a version over Spark Connect."""
    pytest.importorskip("pysail")
    port = free_port()
    server = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "pysail",
            "spark",
            "server",
            "--ip",
            "127.0.0.1",
            "--port",
            str(port),
        ]
    )
    try:
        asked = {name: [lake.address(name), version] for name, (version, _) in pinned.items()}
        result = subprocess.run(
            [sys.executable, str(_ASK_SAIL), str(port), json.dumps(asked)],
            capture_output=True, text=True, check=False, timeout=300,
        )  # fmt: skip
        assert result.returncode == 0, result.stderr[-3_000:]
        found = json.loads(result.stdout.splitlines()[-1])
    finally:
        server.terminate()
        server.wait()
    for name, (_, sums) in pinned.items():
        assert {code: Decimal(text) for code, text in found[name].items()} == sums


def _clickhouse(sql: str) -> Sums:
    """Run a query in ClickHouse, in a process of its own."""
    code = "import chdb, sys; print(chdb.query(sys.argv[1], 'JSONCompact'))"
    result = subprocess.run(
        [sys.executable, "-c", code, sql], capture_output=True, text=True, check=False, timeout=300
    )
    assert result.returncode == 0, result.stderr[-3_000:]
    return {code: Decimal(text) for code, text in json.loads(result.stdout)["data"]}


def test_clickhouse_reads_a_bucket(bucket: Lake) -> None:
    """ClickHouse reads the lake from S3, too."""
    pytest.importorskip("chdb")
    job = Job("duckdb")
    with synced(job, milestones=60, seed=42) as sandbox:
        job.sync(sandbox, full=False)
    name = "kantata_marts.billing_milestones"
    address = f"{bucket.options['endpoint_url']}/{BUCKET}/{bucket.address(name).split('/', 3)[3]}"
    found = _clickhouse(
        f"select currency, toString(sum(amount)) from deltaLake('{address}/', '{KEY}', '{SECRET}') "
        "group by currency"
    )
    assert found == dict(job.rows(f"select currency, sum(amount) from {name} group by currency"))


def test_the_query_of_the_documents_pins_a_run(lake: Lake) -> None:
    """The Python of PRODUCTION.md gives the sums that were published."""
    text = _PRODUCTION.read_text().partition("## A copy in open tables")[2].partition("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    job = Job("duckdb")
    with synced(job, milestones=60, seed=43) as sandbox:
        job.sync(sandbox, full=False)
    code = code.replace("s3://finance/milestones", lake.url)
    result = subprocess.run(
        [sys.executable, "-W", "error", "-c", code],
        capture_output=True, text=True, check=False, env=os.environ,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    name = "kantata_marts.billing_backlog"
    for currency, amount in job.rows(f"select currency, sum(amount) from {name} group by currency"):
        assert re.search(rf"{currency}.*{amount}", result.stdout), result.stdout
