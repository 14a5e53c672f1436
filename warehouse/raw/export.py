"""Reading every row of the raw tables, to move them to another warehouse."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from warehouse import lineage
from warehouse.account import TABLE
from warehouse.database import DATASET, Database

from . import exchange_rates, invoice_payments, lake_copies, period_closes

# Our SQL writes these tables, not dlt.
_TABLES_WRITTEN_BY_SQL = (
    "change_requests",
    "change_events",
    "alerts",
    "sync_runs",
    TABLE,
    invoice_payments.TABLE,
    exchange_rates.TABLE,
    lineage.TABLE,
    lake_copies.TABLE,
    *period_closes.TABLES,
)
_ROWS_PER_BATCH = 10_000


def raw_tables(database: Database) -> list[str]:
    """Return the names of the tables to export that dlt loads, sorted."""
    others = (*_TABLES_WRITTEN_BY_SQL, "warehouse_version")
    names = database.tables()
    return sorted(n for n in names if n not in others and not n.startswith("_dlt"))


def raw_batches(database: Database) -> Iterator[tuple[str, pa.Table]]:
    """Yield every row of the raw tables to export, with the table's name, without dlt's columns."""
    columns = database.tables()
    for table in raw_tables(database):
        names = ", ".join(f'"{name}"' for name in columns[table] if not name.startswith("_dlt"))
        for batch in database.batches(f'select {names} from {DATASET}."{table}"'):
            for start in range(0, batch.num_rows, _ROWS_PER_BATCH):
                yield table, pa.Table.from_batches([batch.slice(start, _ROWS_PER_BATCH)])


def copy_by_sql(source: Database, target: Database) -> None:
    """Export to another warehouse the tables that dlt does not load, all or none."""
    with target.transaction():
        for table in _TABLES_WRITTEN_BY_SQL:
            columns = ", ".join(source.tables()[table])
            target.execute(f"delete from {DATASET}.{table}")
            rows = source.rows(f"select {columns} from {DATASET}.{table}")
            target.insert(f"{DATASET}.{table} ({columns})", rows)


def row_counts(database: Database) -> dict[str, int]:
    """Return the number of rows of each raw table, to compare an export with its source."""
    return {
        table: database.rows(f'select count(*) from {DATASET}."{table}"')[0][0]
        for table in raw_tables(database)
    }
