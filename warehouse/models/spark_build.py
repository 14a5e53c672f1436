"""Building the marts on Spark from raw tables that it can read, with the SQL files.

Everything is a query over temporary views, so Spark distributes the work. Only what Python computes
for DuckDB and Postgres, too, is computed here: the calendar, and the exchange rates of each day.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol

import pyarrow as pa

from warehouse.database import DATASET, MARTS

from .build import COUNTS, BuildContext
from .calendar import calendar_periods
from .ddl import quote
from .reporting_rates import needed_rates
from .spark_rows import python_rows
from .spark_sql import Relation, relations, spark_sql
from .sql_files import Model, marts, staging

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession

_SETTINGS = {
    "spark.sql.session.timeZone": "UTC",
    "spark.sql.ansi.enabled": "true",  # otherwise an amount that does not fit becomes null
    "spark.sql.decimalOperations.allowPrecisionLoss": "false",  # otherwise it rounds amounts
}
# It describes the warehouse, and the age of what a query reads: a table would freeze it.
_NOT_BUILT = frozenset({"data_freshness"})
# All milestones: the history is not refreshed, but built.
_CHANGED = f"select id from {DATASET}.billing_milestone_versions where version = 1"
_MOMENT = pa.timestamp("us", tz="UTC")
_CALENDAR = pa.schema([
    ("period", pa.string()), ("first_day", pa.date32()),
    ("starts_at", _MOMENT), ("ends_at", _MOMENT),
])  # fmt: skip
_RATES = pa.schema([
    ("currency", pa.string()), ("day", pa.date32()), ("rate", pa.decimal128(20, 10)),
    ("rate_date", pa.date32()), ("rate_source", pa.string()),
])  # fmt: skip
_TODAY = pa.schema([
    ("as_of", pa.date32()), ("reporting_timezone", pa.string()), ("run_id", pa.string()),
    ("reporting_currency", pa.string()), ("milestones", pa.int64()), ("out_of_reach", pa.int64()),
    ("rejected_records", pa.int64()),
])  # fmt: skip


class SparkStore(Protocol):
    """Where Spark reads the raw tables from, and writes the marts to."""

    def read_raw(self, table: str) -> DataFrame:
        """Return the rows of a raw table."""

    def write_mart(self, mart: str, rows: DataFrame) -> DataFrame:
        """Write the rows of a mart, and return them as they are read again."""


def build_on_spark(spark: SparkSession, store: SparkStore, context: BuildContext) -> list[str]:
    """Build all marts; return their names, in the order in which they were written.

    Args:
        spark: A Spark session, of Spark Connect or local.
        store: The raw tables and the marts.
        context: The run and day to build them for.
    """
    with _session_settings(spark):
        build = _SparkBuild(spark, store, context)
        try:
            return [build.mart(model) for model in marts_on_spark()]
        finally:
            build.drop_views()


def marts_on_spark() -> list[Model]:
    """Return the marts that Spark builds: all but the one that describes the warehouse itself."""
    return [model for model in marts() if model.name not in _NOT_BUILT]


class _SparkBuild:
    """One build of the marts: the views that exist, each defined when a query first reads it."""

    def __init__(self, spark: SparkSession, store: SparkStore, context: BuildContext) -> None:
        self._spark, self._store, self._context = spark, store, context
        self._views: list[Relation] = []
        self._staging = {model.name: model for model in staging()}

    def mart(self, model: Model) -> str:
        """Build a mart and make it readable for those after it; return its name."""
        rows = self._store.write_mart(model.name, self._query(model.sql))
        self._define(Relation(MARTS, model.name), rows)
        return model.name

    def rows(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Return the rows of a query of the SQL files; texts replace its ``%s``."""
        for value in values:
            sql = sql.replace("%s", quote(str(value)), 1)
        found = self._query(sql).toArrow()  # and not `collect`, which gives local times
        return list(zip(*(column.to_pylist() for column in found.columns), strict=True))

    def drop_views(self) -> None:
        """Remove the views from the session."""
        for relation in self._views:
            self._spark.catalog.dropTempView(relation.view)

    def _query(self, sql: str) -> DataFrame:
        """Return the rows of a query of the SQL files, whose relations are defined first."""
        for relation in sorted(relations(sql)):
            if relation not in self._views:
                self._define(relation, self._relation(relation))
        return self._spark.sql(spark_sql(sql))

    def _define(self, relation: Relation, rows: DataFrame) -> None:
        """Define the temporary view of a relation."""
        rows.createOrReplaceTempView(relation.view)
        self._views.append(relation)

    def _relation(self, relation: Relation) -> DataFrame:
        """Return the rows of a raw table or of a staging relation."""
        context = self._context
        match relation:
            case Relation(schema=schema, name=name) if schema == DATASET:
                return self._store.read_raw(name)
            case Relation(name="today"):
                counts = self.rows(f"select {COUNTS}")[0]
                today = (context.as_of, context.timezone, context.run_id)
                currency = context.reporting_currency or None
                return python_rows(self._spark, _TODAY, [(*today, currency, *counts)])
            case Relation(name="calendar"):
                periods = calendar_periods(self, context.as_of, context.timezone)
                return python_rows(self._spark, _CALENDAR, periods)
            case Relation(name="rates"):
                needed = needed_rates(self, context.reporting_currency, context.as_of)
                return python_rows(self._spark, _RATES, needed.rates)
            case Relation(name="changed"):
                return self._query(_CHANGED)
        return self._query(self._staging[relation.name].sql)


@contextmanager
def _session_settings(spark: SparkSession) -> Iterator[None]:
    """Give the session the settings with which amounts are exact, and later its own."""
    before = {name: spark.conf.get(name, None) for name in _SETTINGS}
    for name, value in _SETTINGS.items():
        spark.conf.set(name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                spark.conf.unset(name)
            else:
                spark.conf.set(name, value)
