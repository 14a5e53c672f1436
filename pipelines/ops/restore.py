"""Restore a DuckDB warehouse from one of its copies, because a person decided so."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from pipelines.runtime.clock import Now
from pipelines.sync.session import locked, prepare_tables, publish_to_readers
from warehouse.database import connect
from warehouse.errors import WarehouseMisconfigured
from warehouse.lineage import (
    accounts_of,
    check_files,
    check_restorable,
    published_state,
    record_restore,
    replace_loader,
)
from warehouse.target import Target

PUBLISHED, LOADER = "published", "loader"


@dataclass(frozen=True, kw_only=True)
class Restoration:
    """What a restore did.

    Args:
        source: The file that was kept or copied.
        last_run_id: Its last validated run: the state of the warehouse now.
        replaced_run_id: The last validated run of the published file before; None if it had none.
    """

    source: str
    last_run_id: str
    replaced_run_id: str | None


def restore(target: Target, source: str, reason: str, now: Now) -> Restoration:
    """Restore a warehouse: use this copy from now on, and publish it, even if it knows less.

    Args:
        target: The DuckDB warehouse.
        source: ``published``, ``loader``, or the path of a backup.
        reason: Why, for ``restores``.
        now: The clock of this machine, UTC.

    Raises:
        WarehouseError: If it cannot be restored; nothing is changed then.
    """
    if target.loader is None or target.published is None:
        raise WarehouseMisconfigured(
            "a Postgres warehouse is restored with pg_restore: see PRODUCTION.md#backup"
        )
    if not reason.strip():
        raise WarehouseMisconfigured("--reason is empty: say why the warehouse is restored")
    file = {PUBLISHED: target.published, LOADER: target.loader}.get(
        source, Path(source).expanduser()
    )
    check_files(target, may_be_damaged=True)
    with locked(target):
        last = check_restorable(file, target)
        before = published_state(target)
        _check_account(target, file)
        if file != target.loader:
            replace_loader(target, file)
        with connect(target.destination) as database:
            prepare_tables(database)
            record_restore(
                database,
                at=now(),
                source=str(file),
                reason=reason,
                replaced_run_id=before.last_run_id if before else None,
            )
        publish_to_readers(target)
    return Restoration(
        source=str(file),
        last_run_id=last,
        replaced_run_id=before.last_run_id if before else None,
    )


def _check_account(target: Target, file: Path) -> None:
    """Check that a file to restore was filled from the account of the warehouse's own files."""
    account, *others = accounts_of(target, file, target.loader, target.published)
    for other in others:
        if account and other and not account.is_same_account(other):
            raise WarehouseMisconfigured(
                f"{file} was filled from {account}, and this warehouse from {other}: nothing was "
                "changed. Use a folder of its own for each account"
            )
