"""Bind a ledger to one Kantata account, so that changes are never written to another one."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime

from warehouse.account import AccountBinding
from warehouse.errors import WarehouseError, WarehouseMisconfigured
from warehouse.ledger import account_binding as ledger_binding
from warehouse.ledger.connection import connect_ledger, ledger_exists
from warehouse.ledger.push_lock import push_lock
from warehouse.ledger.store import Ledger
from warehouse.target import Target


def check_ledger_account(
    ledger: Ledger, account: AccountBinding, *, bind: bool
) -> AccountBinding | None:
    """Check the account binding of a ledger; return the account that it is bound to, if any.

    Args:
        ledger: The ledger of changes.
        account: The connected account.
        bind: Whether to bind a ledger that is not bound yet, and to add the account's id.

    Raises:
        WarehouseMisconfigured: If the ledger is bound to another account.
    """
    bound = ledger_binding.bound_account(ledger)
    if bound is not None and not bound.is_same_account(account):
        raise WarehouseMisconfigured(
            f"the ledger has changes for {bound}, but {account} is connected: nothing "
            "was written. Correct KANTATA_API_URL and the token, or set LEDGER__URL to another "
            "ledger. If the account itself has moved: milestones rebind --reason TEXT"
        )
    complete = account if bound is None else bound.completed(account)
    if bind and bound != complete:
        ledger_binding.bind_account(ledger, complete)
    return bound


def bound_ledger_account(target: Target) -> AccountBinding | None:
    """Return the account that the target's ledger is bound to; None if it is not known."""
    with suppress(WarehouseError):  # commands that need the ledger report what is wrong with it
        if ledger_exists(target.ledger_url):
            with connect_ledger(target.ledger_url, lambda: datetime.now(UTC)) as ledger:
                return ledger_binding.bound_account(ledger)
    return None


def rebind_ledger(
    target: Target, account: AccountBinding, now: Callable[[], datetime]
) -> AccountBinding | None:
    """Bind the target's ledger to another account, if there is one and it is bound.

    Returns:
        The account that it was bound to; None if nothing was changed.

    Raises:
        WarehouseError: If the ledger cannot be used.
    """
    if not ledger_exists(target.ledger_url):
        return None
    with connect_ledger(target.ledger_url, now) as ledger:
        before = ledger_binding.bound_account(ledger)
        if before is None or before == account:
            return None
        with push_lock(ledger):
            ledger_binding.bind_account(ledger, account)
        return before
