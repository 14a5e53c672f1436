"""Bind a warehouse and its ledger to another account, when the account itself has moved."""

from __future__ import annotations

from contextlib import closing
from dataclasses import dataclass

from pipelines.config.account_binding import connected_account
from pipelines.config.ledger_binding import rebind_ledger
from pipelines.config.settings import KantataSettings
from pipelines.runtime.clock import Now
from pipelines.sync.session import (
    ensure_locked,
    locked,
    open_existing,
    prepare_tables,
    publish_to_readers,
)
from sources.kantata.settings import ATTEMPTS
from warehouse.account import AccountBinding
from warehouse.errors import WarehouseMisconfigured
from warehouse.raw.account_binding import bind_account, read_origin
from warehouse.target import Target


@dataclass(frozen=True, kw_only=True)
class Rebinding:
    """What a rebind changed.

    Args:
        account: The account that the warehouse and its ledger are bound to now.
        warehouse_before: The account that the warehouse was bound to; None if it was unbound.
        ledger_before: The account that the ledger was bound to; None if it did not change.
    """

    account: AccountBinding
    warehouse_before: AccountBinding | None
    ledger_before: AccountBinding | None


def rebind(kantata: KantataSettings, target: Target, reason: str, now: Now) -> Rebinding:
    """Bind a warehouse and its ledger to the connected account, whatever they were bound to.

    Args:
        kantata: The address of Kantata, and the token.
        target: The warehouse.
        reason: Why, for ``account_bindings``.
        now: The clock of this machine, UTC.

    Raises:
        KantataError: If the account does not answer.
        WarehouseError: If there is no warehouse, or it cannot be written.
    """
    if not reason.strip():
        raise WarehouseMisconfigured("--reason is empty: say why the account has moved")
    with locked(target) as lock:
        with open_existing(lock) as database:
            prepare_tables(database)
            before = read_origin(database).binding
            with closing(kantata.reader(ATTEMPTS)) as reader:
                account = connected_account(reader)
            ensure_locked(lock)
            ledger_before = rebind_ledger(target, account, now)
            if before != account:
                bind_account(database, account, now(), reason)
        publish_to_readers(target)
    return Rebinding(account=account, warehouse_before=before, ledger_before=ledger_before)
