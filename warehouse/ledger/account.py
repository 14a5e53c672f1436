"""The account whose changes a ledger holds."""

from __future__ import annotations

from dataclasses import dataclass

import sqlalchemy as sa

from . import schema
from .store import Ledger


@dataclass(frozen=True)
class AccountBinding:
    """The account whose changes a ledger holds.

    Args:
        address: Of the API.
        account_id: Kantata's; None if it does not say.
    """

    address: str
    account_id: str | None


def bound_account(ledger: Ledger) -> AccountBinding | None:
    """The account whose changes a ledger holds; None before the first push."""
    with ledger.connection.begin():
        row = ledger.connection.execute(sa.select(schema.account)).mappings().first()
    return None if row is None else AccountBinding(row["address"], row["account_id"])


def bind_account(ledger: Ledger, account: AccountBinding) -> None:
    """Say whose changes a ledger holds, once for all."""
    values = {
        "only_one": 1,
        "address": account.address,
        "account_id": account.account_id,
        "bound_at": ledger.now().isoformat(),
    }
    with ledger.connection.begin():
        ledger.connection.execute(schema.account.insert().values(values))
