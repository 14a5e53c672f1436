"""Copying one ledger into another, for `milestones move`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa

from . import schema
from .store import Ledger
from .triggers import SCHEMA

_ROWS_PER_INSERT = 500
_Row = dict[str, Any]


def transfer_ledger(source: Ledger, target: Ledger) -> None:
    """Transfer a ledger's changes, events and account into another one; remove nothing.

    Args:
        source: The ledger to copy. Both push locks must be held.
        target: The ledger to write. Its events must be the first ones of the source.
    """
    new, old = _all_rows(source), _all_rows(target)
    if old[schema.account]:
        new.pop(schema.account)
    with target.connection.begin():
        for table, rows in new.items():
            key = next(iter(table.primary_key.columns))
            existing = {row[key.name]: row for row in old[table]}
            # Updates first: they close changes, and a milestone can have only one open change.
            for row in rows:
                if existing.get(row[key.name], row) != row:
                    update = table.update().where(key == row[key.name])
                    target.connection.execute(update.values(row))
            _insert_copies(target, table, [r for r in rows if r[key.name] not in existing])


def _all_rows(ledger: Ledger) -> dict[sa.Table, list[_Row]]:
    """Return every row of every table of a ledger, for a transfer."""
    with ledger.connection.begin():
        return {
            table: [dict(r) for r in ledger.connection.execute(sa.select(table)).mappings()]
            for table in (schema.changes, schema.events, schema.chain, schema.account)
        }


def _insert_copies(ledger: Ledger, table: sa.Table, rows: Sequence[_Row]) -> None:
    """Insert transferred rows with their numbers, and let new rows continue from the last one."""
    for start in range(0, len(rows), _ROWS_PER_INSERT):
        ledger.connection.execute(table.insert(), rows[start : start + _ROWS_PER_INSERT])
    if ledger.is_postgres and rows and table in (schema.changes, schema.events):
        last = max(row["number"] for row in rows)
        sequence = f"pg_get_serial_sequence('{SCHEMA}.{table.name}', 'number')"
        ledger.connection.execute(sa.text(f"select setval({sequence}, {last})"))
