"""Exchange rates in the warehouse, with their history: a corrected rate replaces the one before.

A rate says what one unit of a currency is worth in another from a date on, until the next rate of
the pair. There is no inverse and no cross rate.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import NamedTuple

from warehouse.database import DATASET, Database, Reader

TABLE = "exchange_rates"
_TABLE = f"{DATASET}.{TABLE}"
DDL = f"""create table if not exists {_TABLE} (
    source_currency text not null, target_currency text not null, effective_date date not null,
    rate decimal(20, 10) not null, rate_source text not null, observed_at timestamptz not null,
    replaced_at timestamptz)"""


_COLUMNS = "source_currency, target_currency, effective_date, rate"
FROM_ACCOUNT = "kantata"  # the source of its rates
_PRESENT = "replaced_at is null"
_KEYS_PER_UPDATE = 200


class Rate(NamedTuple):
    """What one unit of a currency is worth in another, from a date on."""

    source: str
    target: str
    effective_date: date
    rate: Decimal

    @property
    def pair(self) -> tuple[str, str]:
        """The two currencies of the rate."""
        return self.source, self.target


def store_rates(database: Database, rates: Mapping[Rate, str], *, observed_at: datetime) -> int:
    """Store the rates that are valid now, and keep those they replace.

    Args:
        database: A connection; the caller must hold the lock.
        rates: All rates with their sources: ``kantata``, or the name of a file.
        observed_at: When they were read.

    Returns:
        The number of new, changed and removed rates.
    """
    stored = {
        Rate(*row[:4]): row[4]
        for row in database.rows(f"select {_COLUMNS}, rate_source from {_TABLE} where {_PRESENT}")
    }
    gone = [rate for rate, source in stored.items() if rates.get(rate) != source]
    new = [(rate, source) for rate, source in rates.items() if stored.get(rate) != source]
    with database.transaction():
        for start in range(0, len(gone), _KEYS_PER_UPDATE):
            keys = [value for rate in gone[start : start + _KEYS_PER_UPDATE] for value in rate[:3]]
            places = ", ".join(["(%s, %s, %s)"] * (len(keys) // 3))
            database.execute(
                f"update {_TABLE} set replaced_at = %s where {_PRESENT} "
                f"and (source_currency, target_currency, effective_date) in ({places})",
                observed_at,
                *keys,
            )
        database.insert(_TABLE, [(*rate, source, observed_at, None) for rate, source in new])
    return len(gone) + len(new)


def present_rates(database: Database, rate_source: str) -> list[Rate]:
    """Return the rates of a source that are valid now."""
    sql = f"select {_COLUMNS} from {_TABLE} where {_PRESENT} and rate_source = %s"
    return [Rate(*row) for row in database.rows(sql, rate_source)]


def rates_of_files(database: Database) -> dict[Rate, str]:
    """Return the rates that are valid now and were read from a file, with its name."""
    sql = f"select {_COLUMNS}, rate_source from {_TABLE} where {_PRESENT} and rate_source <> %s"
    return {Rate(*row[:4]): row[4] for row in database.rows(sql, FROM_ACCOUNT)}


def rates_into(database: Reader, target: str) -> dict[str, list[tuple[date, Decimal, str]]]:
    """Return the valid rates into a currency: by source currency, date, rate and source of each.

    They are in the order of their dates.
    """
    rows = database.rows(
        f"select source_currency, effective_date, rate, rate_source from {_TABLE} "
        f"where {_PRESENT} and target_currency = %s order by effective_date",
        target,
    )
    found: dict[str, list[tuple[date, Decimal, str]]] = {}
    for source, day, rate, rate_source in rows:
        found.setdefault(source, []).append((day, rate, rate_source))
    return found


def known_currencies(database: Database) -> list[str]:
    """Return the ISO codes of the currencies whose minor unit the warehouse knows."""
    sql = f"select iso_code from {DATASET}.currencies order by iso_code"
    return [code for (code,) in database.rows(sql)]


def rates_state(database: Database) -> str:
    """Return a text that differs when the stored rates do."""
    return str(
        database.rows(
            f"select count(*), count(replaced_at), max(observed_at), max(replaced_at) from {_TABLE}"
        )[0]
    )
