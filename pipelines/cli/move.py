"""The command that moves the DuckDB warehouse to Postgres."""

from __future__ import annotations

from pipelines.config.targets import configured_target
from pipelines.ops.migrate import MigrationResult, migrate
from pipelines.runtime.clock import utc_now
from pipelines.runtime.signals import stop_on_signals
from warehouse.words import counted

from .errors import handle_errors
from .options import Warehouse
from .output import print_json, print_out
from .progress import console_observer


def move(as_json: bool) -> None:
    """Implement the command `move`: move the DuckDB warehouse and its ledger to Postgres."""
    with handle_errors(as_json), stop_on_signals():
        source = configured_target(Warehouse.DUCKDB, moved_too=True)
        target = configured_target(Warehouse.POSTGRES)
        with console_observer() as observer:
            moved = migrate(source, target, observer.phase, utc_now)
        if as_json:
            print_json(vars(moved))
        else:
            _render_migration(moved)


def _render_migration(moved: MigrationResult) -> None:
    """Print what the command `move` moved, and how to run from now on."""
    rows = ", ".join(f"{count:,} {table}" for table, count in moved.rows.items() if count)
    print_out(f"moved: {rows}")
    if moved.changes is not None:
        print_out(
            f"moved {counted(moved.changes, 'change')}; the old ledger is now {moved.old_ledger}"
        )
    print_out("from now on: set WAREHOUSE__DESTINATION=postgres")
