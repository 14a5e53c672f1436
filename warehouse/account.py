"""The account that a warehouse or a ledger belongs to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

TABLE = "account_bindings"  # in schema kantata; the last row counts
_HAS_TABLE = (
    "select 1 from information_schema.tables "
    f"where table_schema = 'kantata' and table_name = '{TABLE}'"
)
_LAST = f"select address, account_id from kantata.{TABLE} order by bound_at desc limit 1"


class Queryable(Protocol):
    """A connection to a warehouse, or a reader of it."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query on the account."""


@dataclass(frozen=True)
class AccountBinding:
    """The account that a warehouse or a ledger belongs to.

    Args:
        address: The host and path of its API.
        account_id: Kantata's id of the account; None if it is not known.
    """

    address: str
    account_id: str | None

    def is_same_account(self, other: AccountBinding) -> bool:
        """Return whether both bindings mean one account: by ids if both are known, else by host."""
        if self.account_id and other.account_id:
            return self.account_id == other.account_id
        return self._host == other._host

    def completed(self, other: AccountBinding) -> AccountBinding:
        """Return the binding with the account's id of another one, if it has none itself."""
        return AccountBinding(self.address, self.account_id or other.account_id)

    @property
    def _host(self) -> str:
        """The host in the binding's address."""
        return self.address.partition("/")[0]

    def __str__(self) -> str:
        return f"account {self.account_id or 'unknown'} at {self.address}"


def bound_account(warehouse: Queryable) -> AccountBinding | None:
    """Return the account that a warehouse is bound to; None if it is not bound."""
    rows = warehouse.rows(_LAST) if warehouse.rows(_HAS_TABLE) else []
    return AccountBinding(*rows[0]) if rows else None
