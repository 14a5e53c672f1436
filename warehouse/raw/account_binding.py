"""The account a warehouse belongs to, in ``account_bindings``; the last row counts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from warehouse.account import TABLE, AccountBinding, bound_account
from warehouse.database import DATASET, Database

from .runs import Queryable

DDL = f"""create table if not exists {DATASET}.{TABLE} (
    address text not null, account_id text, bound_at timestamptz not null, reason text not null)"""
_COLUMNS = (
    "select table_name || '.' || column_name from information_schema.columns "
    f"where table_schema = '{DATASET}' and column_name in ('account_id', 'id')"
)


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What a warehouse holds that says from which account it was filled.

    Args:
        binding: The account it is bound to; None if it is not bound.
        account_ids: The ids of accounts that its projects name.
        milestone_ids: The ids of its latest live milestones, a hundred at most.
    """

    binding: AccountBinding | None
    account_ids: frozenset[str]
    milestone_ids: Sequence[str]


def read_origin(warehouse: Queryable) -> Origin:
    """Return what a warehouse, also one of an older release, says of the account it belongs to."""
    columns = {name for (name,) in warehouse.rows(_COLUMNS)}
    if bound := bound_account(warehouse):
        return Origin(binding=bound, account_ids=frozenset(), milestone_ids=())
    account_ids: frozenset[str] = frozenset()
    if "workspaces.account_id" in columns:
        sql = f"select distinct account_id from {DATASET}.workspaces where account_id is not null"
        account_ids = frozenset(str(id_) for (id_,) in warehouse.rows(sql))
    ids: list[str] = []
    if "billing_milestones.id" in columns:
        sql = (
            f"select id from {DATASET}.billing_milestones where deleted_at is null "
            "order by access_lost_at is not null, created_at desc, id desc limit 100"
        )
        ids = [id_ for (id_,) in warehouse.rows(sql)]
    return Origin(binding=None, account_ids=account_ids, milestone_ids=ids)


def bind_account(database: Database, account: AccountBinding, at: datetime, reason: str) -> None:
    """Bind a warehouse to an account, from now on.

    Args:
        database: A connection; the caller must hold the lock.
        account: The account.
        at: The time, UTC.
        reason: Why, for people.
    """
    database.insert(
        f"{DATASET}.{TABLE} (address, account_id, bound_at, reason)",
        [(account.address, account.account_id, at, reason)],
    )
