"""The copy of closed months in the raw schema: what was frozen of each, and which were reopened."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, NamedTuple, Protocol

from warehouse.database import DATASET

CLOSES, FIGURES = "period_closes", "period_close_figures"
MILESTONES, REOPENS = "period_close_milestones", "period_reopens"
TABLES = (CLOSES, FIGURES, MILESTONES, REOPENS)
_MONEY = "decimal(38,6)"
DDL = (
    f"""create table if not exists {DATASET}.{CLOSES} (
        close_number bigint not null, month date not null, closed_by text not null,
        closed_at timestamptz not null, run_id text not null, observed_until timestamptz,
        reporting_timezone text not null, digest text not null, db_user text)""",
    f"""create table if not exists {DATASET}.{FIGURES} (
        close_number bigint not null, client_id text, client text, currency text not null,
        decimals bigint not null, opening {_MONEY}, new {_MONEY}, increased {_MONEY},
        decreased {_MONEY}, invoiced {_MONEY}, deleted {_MONEY}, closing {_MONEY},
        dated_milestones bigint not null, dated {_MONEY},
        billed_milestones bigint not null, billed {_MONEY})""",
    f"""create table if not exists {DATASET}.{MILESTONES} (
        close_number bigint not null, milestone_id text not null, client_id text, client text,
        currency text not null, amount_in_cents bigint not null, amount {_MONEY},
        date_to_invoice date, status text not null, invoice_id text, invoice_date date,
        invoice_state text)""",
    f"""create table if not exists {DATASET}.{REOPENS} (
        close_number bigint not null, reopened_by text not null, reopened_at timestamptz not null,
        reason text not null, db_user text)""",
)
_EXISTS = (
    "select count(*) from information_schema.tables "
    f"where table_schema = '{DATASET}' and table_name = '{REOPENS}'"
)
_KEYS = (
    f"select c.close_number, c.digest, r.close_number is not null from {DATASET}.{CLOSES} c "
    f"left join {DATASET}.{REOPENS} r on r.close_number = c.close_number order by 1"
)


class CloseKey(NamedTuple):
    """What identifies a close, in the ledger and in its copy.

    Args:
        close_number: Its number.
        digest: Its digest.
        is_reopened: Whether the month was reopened.
    """

    close_number: int
    digest: str
    is_reopened: bool

    def is_in(self, keys: Collection[CloseKey]) -> bool:
        """Return whether this close is among others, or was reopened in the meantime."""
        return self in keys or (not self.is_reopened and self._replace(is_reopened=True) in keys)


class Reader(Protocol):
    """A connection to a warehouse, to read which closes it has."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a query."""


def copied_keys(warehouse: Reader) -> list[CloseKey]:
    """Return what identifies each close in the copy, in order; none in an older warehouse."""
    if not warehouse.rows(_EXISTS)[0][0]:
        return []
    return [CloseKey(*row) for row in warehouse.rows(_KEYS)]
