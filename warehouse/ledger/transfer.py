"""Copying one ledger into another, for `milestones move`."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from warehouse.errors import WarehouseBusy

from . import schema
from .closes import read_closes, restore_closes
from .store import Ledger
from .triggers import SCHEMA

_ROWS_PER_INSERT = 500
_Row = dict[str, Any]


def transfer_ledger(source: Ledger, target: Ledger) -> None:
    """Transfer a ledger's changes, events, account and closes into another; remove nothing.

    Args:
        source: The ledger to copy. Both push locks must be held.
        target: The ledger to write. Its events must be the first ones of the source.
    """
    tables = (schema.changes, schema.events, schema.chain, schema.account)
    new = {table: _rows(source, table) for table in tables}
    if _rows(target, schema.account):
        new.pop(schema.account)
    closes = read_closes(source)
    with target.transaction():
        write_rows(target, new)
        restore_closes(target, closes)


def complete_file(file: Path) -> None:
    """Write into a SQLite ledger's file what is only in its log, so that it can be renamed alone.

    Args:
        file: The file. The caller must have an open transaction on it.

    Raises:
        WarehouseBusy: If another program is reading an older state of it.
    """
    with closing(sqlite3.connect(file)) as connection:
        (row,) = connection.execute("pragma wal_checkpoint(passive)")
    is_busy, in_log, written = row
    if is_busy or in_log != written:
        raise WarehouseBusy(
            f"another program is reading the ledger {file}, so it was not moved: close it there, "
            "and run `milestones move` again"
        )


def write_rows(ledger: Ledger, new: Mapping[sa.Table, Sequence[_Row]]) -> None:
    """Write transferred rows into a ledger, in the open transaction; remove nothing.

    Args:
        ledger: The ledger.
        new: The rows of each table. Those that the ledger has with other values are updated.
    """
    for table, rows in new.items():
        key = next(iter(table.primary_key.columns))
        existing = {row[key.name]: row for row in _rows(ledger, table)}
        # Updates first: they close changes, and a milestone can have only one open change.
        for row in rows:
            if not row.items() <= existing.get(row[key.name], row).items():
                update = table.update().where(key == row[key.name])
                ledger.connection.execute(update.values(row))
        _insert_copies(ledger, table, [r for r in rows if r[key.name] not in existing])


def _rows(ledger: Ledger, table: sa.Table) -> list[_Row]:
    """Return every row of a table of a ledger, for a transfer."""
    with ledger.reading():
        return [dict(r) for r in ledger.connection.execute(sa.select(table)).mappings()]


def _insert_copies(ledger: Ledger, table: sa.Table, rows: Sequence[_Row]) -> None:
    """Insert transferred rows with their numbers, and let new rows continue from the last one."""
    for start in range(0, len(rows), _ROWS_PER_INSERT):
        ledger.connection.execute(table.insert(), rows[start : start + _ROWS_PER_INSERT])
    if ledger.is_postgres and rows and table in (schema.changes, schema.events):
        last = max(row["number"] for row in rows)
        sequence = f"pg_get_serial_sequence('{SCHEMA}.{table.name}', 'number')"
        ledger.connection.execute(sa.text(f"select setval({sequence}, {last})"))
