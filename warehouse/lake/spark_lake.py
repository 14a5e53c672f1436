"""A lake of Delta tables as Spark reads and writes it: published runs, raw tables, marts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

import pyarrow as pa

from warehouse.database import DATASET, MARTS
from warehouse.models.build import BuildContext
from warehouse.models.spark_rows import python_rows
from warehouse.raw.lake_copies import PUBLISHED_RUNS

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

BUILT = "built_marts"
_FRESHNESS, _REPORTING = f"{MARTS}.data_freshness", f"{MARTS}.billing_milestones_reporting"
_BUILT = pa.schema([
    ("run_id", pa.string()), ("table_name", pa.string()), ("rows", pa.int64()),
    ("built_at", pa.timestamp("us", tz="UTC")),
])  # fmt: skip


class LakeJobError(Exception):
    """The marts were not built on Spark; ``exit_code`` is the exit code of the process."""

    exit_code: ClassVar[int] = 1


class NotPublished(LakeJobError):
    """The lake has no such run, or no such folder: name another one."""

    exit_code = 2


@dataclass(frozen=True, kw_only=True)
class PinnedTable:
    """A table of a published run, at the version that belongs to it.

    Args:
        version: The version of its Delta table.
        rows: The number of its rows.
        amounts: The sum of its amounts by currency; None if it has none.
    """

    version: int
    rows: int
    amounts: dict[str, Decimal] | None


@dataclass(frozen=True, kw_only=True)
class PublishedRun:
    """A run that a lake shows.

    Args:
        run_id: The run.
        tables: Its tables, by schema and name.
    """

    run_id: str
    tables: Mapping[str, PinnedTable]


def published_run(spark: SparkSession, url: str, run_id: str | None = None) -> PublishedRun:
    """Return a run that the lake shows: without an id, the last one.

    Raises:
        NotPublished: If there is none.
    """
    rows = _published_rows(spark, url)
    wanted = run_id or max((row["run_id"] for row in rows), default=None)
    tables = {
        row["table_name"]: PinnedTable(
            version=row["version"], rows=row["rows"], amounts=_amounts(row["amount_by_currency"])
        )
        for row in rows
        if row["run_id"] == wanted
    }
    if wanted and tables:
        return PublishedRun(run_id=wanted, tables=tables)
    if run_id and rows:
        shown = ", ".join(sorted({row["run_id"] for row in rows}))
        raise NotPublished(f"the lake in {url} does not show run {run_id}. It shows {shown}")
    raise NotPublished(
        f"the lake in {url} shows no run: set [lake] url there, run `milestones sync`, and start "
        "this job again; or name another folder"
    )


def _published_rows(spark: SparkSession, url: str) -> list[dict[str, Any]]:
    """Return the rows of ``published_runs``; none if it does not exist."""
    from pyspark.errors import AnalysisException

    try:
        rows = spark.read.format("delta").load(f"{url}/{PUBLISHED_RUNS}").toArrow()
    except AnalysisException:
        return []
    return list(rows.to_pylist())


def _amounts(text: str | None) -> dict[str, Decimal] | None:
    """Return the sums by currency in a row of ``published_runs``."""
    return (
        None if text is None else {code: Decimal(each) for code, each in json.loads(text).items()}
    )


class SparkLake:
    """One published run of a lake, and the folder that its marts are built in.

    Args:
        spark: A session that reads and writes Delta tables.
        url: The lake.
        schema: The folder below it to write to.
        run: The run.
    """

    def __init__(self, spark: SparkSession, url: str, schema: str, run: PublishedRun) -> None:
        self._spark, self._url, self._schema, self.run = spark, url, schema, run
        self._built: dict[str, int] = {}

    def read(self, table: str) -> DataFrame:
        """Return the rows of a table of the run, by schema and name.

        Raises:
            NotPublished: If the run has no such table.
        """
        published = self.run.tables.get(table)
        if published is None:
            raise NotPublished(
                f"run {self.run.run_id} in {self._url} has no table {table}: another release of "
                "milestones wrote it. Use the same release here, or run `milestones sync` again"
            )
        reader = self._spark.read.format("delta").option("versionAsOf", published.version)
        return reader.load(f"{self._url}/{table.replace('.', '/')}")

    def read_raw(self, table: str) -> DataFrame:
        """Return the rows of a raw table of the run."""
        return self.read(f"{DATASET}.{table}")

    def begin(self) -> None:
        """Say in ``built_marts`` that no mart can be read until the build has succeeded."""
        self._write_built([])

    def write_mart(self, mart: str, rows: DataFrame) -> DataFrame:
        """Write the rows of a mart with the types of the published one; return them.

        Raises:
            LakeJobError: If they are others than the published ones.
        """
        written = self._overwrite(mart, self._typed(mart, rows))
        self._built[mart] = self._compared(mart, written)
        return written

    def finish(self) -> dict[str, int]:
        """Say in ``built_marts`` which marts were built of which run; return the rows of each."""
        now = datetime.now(UTC)
        self._write_built([(self.run.run_id, mart, n, now) for mart, n in self._built.items()])
        return self._built

    def _overwrite(self, name: str, rows: DataFrame) -> DataFrame:
        """Replace a Delta table of the folder; return its rows."""
        path = f"{self._url}/{self._schema}/{name}"
        writer = rows.write.format("delta").mode("overwrite").option("overwriteSchema", "true")
        writer.save(path)
        return self._spark.read.format("delta").load(path)

    def _write_built(self, rows: list[tuple[str, str, int, datetime]]) -> None:
        """Replace the rows of ``built_marts``."""
        self._overwrite(BUILT, python_rows(self._spark, _BUILT, rows))

    def _typed(self, mart: str, rows: DataFrame) -> DataFrame:
        """Return the rows of a mart with the column types that it has in the lake."""
        types = {field.name: field.dataType for field in self.read(f"{MARTS}.{mart}").schema}
        columns = [rows[name].cast(types[name]) if name in types else rows[name]
                   for name in rows.columns]  # fmt: skip
        return rows.select(
            *[each.alias(name) for each, name in zip(columns, rows.columns, strict=True)]
        )

    def _compared(self, mart: str, rows: DataFrame) -> int:
        """Return the number of rows of a mart, which are as many and as much as was published.

        Raises:
            LakeJobError: If they are not.
        """
        published = self.run.tables[f"{MARTS}.{mart}"]
        found = PinnedTable(
            version=published.version,
            rows=rows.count(),
            amounts=_sums(rows) if published.amounts is not None else None,
        )
        if found != published:
            raise LakeJobError(
                f"{mart} built on Spark differs from the mart of run {self.run.run_id}: it has "
                f"{found.rows} rows and {_listed(found)}, and the run has {published.rows} and "
                f"{_listed(published)}. {BUILT} lists no mart; please report it"
            )
        return found.rows


def _sums(rows: DataFrame) -> dict[str, Decimal]:
    """Return the sums of amounts by currency, as ``published_runs`` has them."""
    measure = next(name for name in ("amount", "amount_in_cents") if name in rows.columns)
    known = rows.where(f"currency is not null and {measure} is not null")
    sums = known.groupBy("currency").agg({measure: "sum"}).toArrow()
    codes, totals = (column.to_pylist() for column in sums.columns)
    return {code: Decimal(total) for code, total in zip(codes, totals, strict=True)}


def _listed(table: PinnedTable) -> str:
    """Return the amounts of a table in words."""
    amounts = sorted((table.amounts or {}).items())
    return ", ".join(f"{code} {amount:f}" for code, amount in amounts) or "no amounts"


def build_context(lake: SparkLake) -> BuildContext:
    """Return the day, time zone and reporting currency that the run's marts were built for."""
    fields = ("as_of", "reporting_timezone", "models_run_id")
    freshness = lake.read(_FRESHNESS).select(*fields).toArrow().to_pylist()[0]
    currencies = lake.read(_REPORTING).select("reporting_currency").limit(1).toArrow().to_pylist()
    return BuildContext(
        run_id=freshness["models_run_id"],
        as_of=freshness["as_of"],
        timezone=freshness["reporting_timezone"],
        reporting_currency=currencies[0]["reporting_currency"] if currencies else "",
    )
