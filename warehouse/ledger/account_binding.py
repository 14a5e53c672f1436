"""The account a ledger belongs to: its changes are written to no other account."""

from __future__ import annotations

import sqlalchemy as sa

from warehouse.account import AccountBinding

from . import schema
from .store import Ledger


def bound_account(ledger: Ledger) -> AccountBinding | None:
    """Return the account a ledger belongs to; None before the first push."""
    with ledger.connection.begin():
        row = ledger.connection.execute(sa.select(schema.account)).mappings().first()
    return None if row is None else AccountBinding(row["address"], row["account_id"])


def bind_account(ledger: Ledger, account: AccountBinding) -> None:
    """Bind a ledger to an account, instead of the one it is bound to, if any."""
    values = {
        "only_one": 1,
        "address": account.address,
        "account_id": account.account_id,
        "bound_at": ledger.now().isoformat(),
    }
    with ledger.connection.begin():
        ledger.connection.execute(schema.account.delete())
        ledger.connection.execute(schema.account.insert().values(values))
