"""The tables that are copied to the lake, with the exact type of each column.

A table has the same types from DuckDB as from Postgres, which keeps no scale of a sum.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from warehouse.database import DATASET, MARTS, Database
from warehouse.models.sql_files import marts
from warehouse.raw import lake_copies

# Alerts are this machine's; the version is that of the tables in the warehouse.
_NOT_COPIED = ("alerts", "warehouse_version", lake_copies.TABLE)
_TYPES = {
    "text": pa.string(),
    "bigint": pa.int64(),
    "bool": pa.bool_(),
    "double": pa.float64(),
    "date": pa.date32(),
    "timestamp": pa.timestamp("us", "UTC"),
}
# Money has 29 digits before the point: BigQuery's NUMERIC has no more. Rates and unrounded amounts
# have more digits after it than NUMERIC, so BigQuery reads them as BIGNUMERIC.
_MONEY = pa.decimal128(35, 6)
_DECIMALS = (
    (re.compile("subunits"), pa.decimal128(29, 0)),
    (re.compile("minor_unit|unit_per_subunit"), pa.decimal128(12, 6)),
    (re.compile("rate(_.*)?"), pa.decimal128(20, 10)),
    (re.compile("exact_.*"), pa.decimal128(38, 16)),
)
_LAYOUT = "1"  # another one writes all tables again


@dataclass(frozen=True, kw_only=True)
class LakeTable:
    """A table to copy.

    Args:
        schema: Its schema in the warehouse, and its folder in the lake.
        name: Its name.
        arrow: Its columns: names, types, and comments as metadata.
    """

    schema: str
    name: str
    arrow: pa.Schema

    @property
    def full_name(self) -> str:
        """Its schema and name."""
        return f"{self.schema}.{self.name}"

    @property
    def path(self) -> str:
        """Its place below the lake's URL."""
        return f"{self.schema}/{self.name}"

    @property
    def measure(self) -> str | None:
        """The column whose sums by currency go to ``published_runs``."""
        names = self.arrow.names
        if "currency" not in names:
            return None
        return next((name for name in ("amount", "amount_in_cents") if name in names), None)

    @property
    def shape(self) -> str:
        """A digest of its columns: names, types and comments."""
        listed = [f"{f.name} {f.type} {f.metadata}" for f in self.arrow]
        return hashlib.blake2b("\n".join([_LAYOUT, *listed]).encode(), digest_size=8).hexdigest()


def decimal_type(column: str) -> pa.Decimal128Type:
    """Return the type in the lake of a column of decimals, by its name."""
    return next((kind for pattern, kind in _DECIMALS if pattern.fullmatch(column)), _MONEY)


def lake_tables(database: Database) -> list[LakeTable]:
    """Return the tables to copy: the raw tables, then the marts."""
    comments = {model.name: model.columns for model in marts()}
    raw = {
        name: columns
        for name, columns in database.tables(DATASET).items()
        if name not in _NOT_COPIED and not name.startswith("_dlt")
    }
    built = {name: each for name, each in database.tables(MARTS).items() if name in comments}
    return [
        *[_table(DATASET, name, raw[name], {}) for name in sorted(raw)],
        *[_table(MARTS, name, built[name], comments[name]) for name in sorted(built)],
    ]


def _table(
    schema: str, name: str, columns: Mapping[str, str], comments: Mapping[str, str]
) -> LakeTable:
    """Return a table to copy, from the dlt types of its columns."""
    fields = [
        pa.field(
            column,
            decimal_type(column) if kind == "decimal" else _TYPES.get(kind, pa.string()),
            metadata={"comment": comments[column]} if column in comments else None,
        )
        for column, kind in columns.items()
        if not column.startswith("_dlt")
    ]
    return LakeTable(schema=schema, name=name, arrow=pa.schema(fields))
