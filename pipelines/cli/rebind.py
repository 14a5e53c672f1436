"""The command that binds the warehouse and its ledger to another account."""

from __future__ import annotations

from pipelines.config.settings import kantata_settings
from pipelines.config.targets import configured_target
from pipelines.ops import rebind as rebinding
from pipelines.runtime.clock import utc_now
from pipelines.runtime.signals import stop_on_signals

from .errors import handle_errors
from .options import Warehouse
from .output import print_json, print_out


def rebind(destination: Warehouse | None, *, reason: str, as_json: bool) -> None:
    """Implement the command `rebind`: bind the warehouse and its ledger to the account."""
    with handle_errors(as_json), stop_on_signals():
        target, settings = configured_target(destination), kantata_settings()
        rebound = rebinding.rebind(settings, target, reason, utc_now)
        if as_json:
            print_json({name: account and vars(account) for name, account in vars(rebound).items()})
            return
        print_out(f"the warehouse is now bound to {rebound.account}")
        for what, before in (
            ("warehouse", rebound.warehouse_before),
            ("ledger", rebound.ledger_before),
        ):
            if before not in (None, rebound.account):
                print_out(f"before, the {what} was bound to {before}")
