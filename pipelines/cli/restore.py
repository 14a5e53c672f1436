"""The command that restores the warehouse or the ledger from a copy."""

from __future__ import annotations

from pipelines.config.targets import configured_target
from pipelines.ops import restore as restoring
from pipelines.ops.ledger_source import LedgerSource
from pipelines.ops.restore_ledger import LedgerRestoration, restore_ledger
from pipelines.runtime.clock import utc_now
from pipelines.runtime.signals import stop_on_signals
from pipelines.writeback.ledger_access import LOST_WITHDRAWALS
from warehouse.errors import WarehouseMisconfigured
from warehouse.words import counted

from .errors import handle_errors
from .options import Warehouse
from .output import print_json, print_out


def restore(
    source: str | None,
    *,
    ledger: LedgerSource | None,
    destination: Warehouse | None,
    reason: str,
    as_json: bool,
) -> None:
    """Implement the command `restore`: use a copy of the warehouse or of the ledger."""
    with handle_errors(as_json), stop_on_signals():
        target = configured_target(destination)
        if (source is None) == (ledger is None):
            raise WarehouseMisconfigured("give either --from or --ledger-from")
        if ledger is not None:
            restored_ledger = restore_ledger(target, ledger, reason, utc_now)
            _print_restored_ledger(restored_ledger, as_json)
            return
        restored = restoring.restore(target, str(source), reason, utc_now)
        if as_json:
            print_json(vars(restored))
            return
        print_out(f"restored from {restored.source}: its last run is {restored.last_run_id}")
        if restored.replaced_run_id not in (None, restored.last_run_id):
            print_out(f"before, the last published run was {restored.replaced_run_id}")


def _print_restored_ledger(restored: LedgerRestoration, as_json: bool) -> None:
    """Print what the command `restore` did with the ledger, as text or as JSON."""
    if as_json:
        print_json(vars(restored))
        return
    print_out(
        f"the ledger has {counted(restored.changes, 'change')}, "
        f"{counted(restored.events, 'event')} and {counted(restored.closes, 'close')} of months; "
        "the changes that may have been sent are unknown, and the "
        "next push looks for them first"
    )
    print_out(LOST_WITHDRAWALS)
    if restored.set_aside:
        print_out(
            f"the old file is {restored.set_aside}; what was proposed or decided after the last "
            "push is only there"
        )
