"""Each mart that Spark builds from a lake equals, row for row, the one that DuckDB built."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.ops.lake_job import build_marts
from sources.kantata_sandbox import Sandbox
from tests.support.job import Job
from tests.support.office import Office
from tests.support.random_account import live
from tests.support.spark_servers import Server, session
from warehouse.models.build import BuildContext
from warehouse.models.spark_build import build_on_spark, marts_on_spark
from warehouse.models.sql_files import Model

pytest.importorskip("pysail", reason="no Spark: `make test-spark` installs it")
from tests.support.lake_tables import arrow_of, open_warehouse, relations, write_lake

pytestmark = pytest.mark.spark
ZONES = ("UTC", "Pacific/Auckland", "America/Los_Angeles", "Europe/Berlin")


@pytest.fixture
def lived(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[[int], Path]:
    """A function that gives a warehouse after a random life, by its seed."""
    monkeypatch.setenv("KANTATA_API_URL", "")
    monkeypatch.setenv("KANTATA_ACCESS_TOKEN", "")
    monkeypatch.setenv("PUSH__ENABLED", "true")
    monkeypatch.setenv("WAREHOUSE__REPORTING_CURRENCY", "EUR")

    def warehouse(seed: int) -> Path:
        monkeypatch.setenv("WAREHOUSE__REPORTING_TIMEZONE", ZONES[seed % len(ZONES)])
        job = Job("duckdb")
        with Sandbox(milestones=80, seed=seed) as sandbox:
            job.sync(sandbox)
            live(Office(job, sandbox), Random(seed))
        return job.target.loader

    return warehouse


def by_grain(model: Model, table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a mart, in the order of what identifies them."""
    return sorted(table.to_pylist(), key=lambda row: [str(row[name]) for name in model.grain])


def assert_equal(warehouse: Path, found: Callable[[str], pa.Table]) -> dict[str, int]:
    """Assert that each mart has the columns and rows that DuckDB gave it; return the counts."""
    counts = {}
    with open_warehouse(warehouse) as connection:
        for model in marts_on_spark():
            expected, table = arrow_of(connection, "kantata_marts", model.name), found(model.name)
            assert shape(table) == shape(expected), model.name
            assert by_grain(model, table) == by_grain(model, expected), model.name
            counts[model.name] = table.num_rows
    return counts


def shape(table: pa.Table) -> list[tuple[str, str]]:
    """The columns of a table with their types; engines give sums different numbers of digits."""
    return [
        (field.name, re.sub("^large_|128.*|, tz=.*", "", str(field.type))) for field in table.schema
    ]


def assert_marts(server: Server, warehouse: Path, lake: Path) -> dict[str, int]:
    """Build the marts of a lake and assert that they equal the warehouse's."""
    with session(server) as spark:
        built = build_marts(spark, str(lake))
        read = spark.read.format("delta")
        counts = assert_equal(
            warehouse, lambda mart: read.load(f"{lake}/spark_marts/{mart}").toArrow()
        )
    assert built == counts
    return counts


@pytest.mark.parametrize(
    "seed", [pytest.param(1, id="sample"), *(pytest.param(n, id=f"{n}") for n in range(2, 12))]
)
def test_random_lives(
    seed: int, lived: Callable[[int], Path], tmp_path: Path, single: Server, cluster: Server
) -> None:
    """After a random life, all marts are equal: on Sail in one process, and on two workers."""
    warehouse, lake = lived(seed), tmp_path / "lake"
    with open_warehouse(warehouse) as connection:
        write_lake(connection, lake)
    counts = assert_marts(single, warehouse, lake)
    assert assert_marts(cluster, warehouse, lake) == counts
    if seed == 1:
        assert not [mart for mart, count in counts.items() if not count]


class Parquet:
    """Raw tables that Spark reads as Parquet, and marts that it writes so."""

    def __init__(self, spark: Any, folder: Path) -> None:  # noqa: ANN401 - pyspark is optional
        self.spark, self.folder = spark, folder

    def read_raw(self, table: str) -> Any:  # noqa: ANN401
        """The rows of a raw table."""
        return self.spark.read.parquet(str(self.folder / f"{table}.parquet"))

    def write_mart(self, mart: str, rows: Any) -> Any:  # noqa: ANN401
        """Write a mart, and read it again."""
        path = str(self.folder / mart)
        rows.write.mode("overwrite").parquet(path)
        return self.spark.read.parquet(path)


@pytest.mark.parametrize("seed", [20, 21])
def test_spark_itself(seed: int, lived: Callable[[int], Path], tmp_path: Path, jvm: Server) -> None:
    """Spark itself, with Parquet files since it has no jar for Delta, builds equal marts."""
    warehouse = lived(seed)
    with open_warehouse(warehouse) as connection:
        for name in (name for schema, name in relations(connection) if schema == "kantata"):
            pq.write_table(arrow_of(connection, "kantata", name), tmp_path / f"{name}.parquet")
        columns = "run_id, as_of, reporting_timezone, reporting_currency"
        run, day, zone, currency = connection.execute(
            f"select {columns} from kantata_stg.today"
        ).fetchall()[0]
    context = BuildContext(run_id=run, as_of=day, timezone=zone, reporting_currency=currency)
    with session(jvm) as spark:
        zone_before = spark.conf.get("spark.sql.session.timeZone")
        store = Parquet(spark, tmp_path)
        built = build_on_spark(spark, store, context)
        assert spark.conf.get("spark.sql.session.timeZone") == zone_before
        assert spark.catalog.listTables() == []
        assert_equal(warehouse, lambda mart: spark.read.parquet(str(tmp_path / mart)).toArrow())
    assert sorted(built) == sorted(model.name for model in marts_on_spark())
