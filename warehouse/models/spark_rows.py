"""Rows that Python computed, as Spark reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from pyspark.sql import DataFrame, SparkSession


def python_rows(
    spark: SparkSession, schema: pa.Schema, rows: Sequence[Sequence[object]]
) -> DataFrame:
    """Return rows as Spark reads them.

    Args:
        spark: A Spark session.
        schema: Their columns.
        rows: Their values.
    """
    known = rows or [[None] * len(schema)]  # Spark refuses a table without rows
    columns = zip(*known, strict=True)
    arrays = [pa.array(c, f.type) for c, f in zip(columns, schema, strict=True)]
    table = spark.createDataFrame(pa.Table.from_arrays(arrays, schema=schema))
    return table if rows else table.limit(0)
