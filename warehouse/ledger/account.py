"""The account a ledger belongs to: its changes are written to no other account."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from . import schema
from .store import Ledger


@dataclass(frozen=True)
class AccountBinding:
    """The account a ledger belongs to.

    Args:
        address: The host and path of its API.
        account_id: Kantata's id of the account; None if it is not known.
    """

    address: str
    account_id: str | None


def bound_account(ledger: Ledger) -> AccountBinding | None:
    """Return the account a ledger belongs to; None before the first push."""
    with ledger.connection.begin():
        row = ledger.connection.execute(sa.select(schema.account)).mappings().first()
    return None if row is None else AccountBinding(row["address"], row["account_id"])


def bind_account(ledger: Ledger, account: AccountBinding) -> None:
    """Bind a ledger to an account, for good."""
    values = {
        "only_one": 1,
        "address": account.address,
        "account_id": account.account_id,
        "bound_at": ledger.now().isoformat(),
    }
    with ledger.connection.begin():
        ledger.connection.execute(schema.account.insert().values(values))
