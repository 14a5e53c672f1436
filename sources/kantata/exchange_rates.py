"""Reads the account's exchange rates, if the token's user may see them.

Their paths and fields are known from a contract alone (API.md#currencies-and-exchange-rates). So
both known paths are tried, and what cannot be read counts as no rates.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from typing import Any, NamedTuple

from .api.envelope import Page, Record, read_page
from .api.reader import KantataReader
from .api.transport import Parameters
from .errors import KantataForbidden, KantataMisaddressed, KantataRefused, KantataUnavailable
from .settings import PER_PAGE

_TABLES = "foreign_exchange/exchange_tables"
_RATE = re.compile(r"[0-9]{1,10}(\.[0-9]{1,10})?")
_CURRENCY = re.compile(r"[A-Z]{3}")
_NOT_READABLE = (KantataForbidden, KantataMisaddressed, KantataRefused)


class ExchangeRate(NamedTuple):
    """A rate: one unit of ``source`` is worth ``rate`` units of ``target`` from a date on."""

    source: str
    target: str
    effective_date: date
    rate: Decimal


class RateKey(NamedTuple):
    """What a rate is the only one of: two currencies and a date."""

    source: str
    target: str
    effective_date: date


class OddRate(NamedTuple):
    """A rate that cannot be used.

    Args:
        key: What it is the rate of; None if that cannot be read either.
        line: The rate and why it cannot be used, for people.
    """

    key: RateKey | None
    line: str


@dataclass(kw_only=True)
class AccountRates:
    """The rates of the account's default exchange table.

    Args:
        rates: The rates that can be used.
        odd: Those that cannot.
        reason: Why they cannot be read; empty if they can, also if the account has none.
    """

    rates: list[ExchangeRate] = field(default_factory=list)
    odd: list[OddRate] = field(default_factory=list)
    reason: str = ""


def read_account_rates(reader: KantataReader) -> AccountRates:
    """Read the rates of the account's default exchange table.

    Raises:
        KantataUnavailable: If Kantata cannot be reached now, or shows only some of its rates.
    """
    found = AccountRates()
    try:
        tables = _records(reader, _TABLES, "exchange_tables", {})
        default = next((table for table in tables if table.get("account_default") is True), None)
        for record in _rates_of(reader, str(default.get("id"))) if default else ():
            _add(found, record)
    except (*_NOT_READABLE, _NoEnvelope) as error:
        found.reason = str(error)
    return found


def parse_rate(value: object) -> Decimal:
    """Return a rate exactly.

    Raises:
        ValueError: If it is not positive, finer than ten decimals, or too large.
    """
    if not isinstance(value, str) or not _RATE.fullmatch(value):
        raise ValueError(
            f"the rate {value!r} is not a number with up to ten decimals, such as 0.9231"
        )
    if not (rate := Decimal(value)):
        raise ValueError("the rate is 0")
    return rate


def parse_currency(value: object) -> str:
    """Return the ISO code of a currency.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(value, str) or not _CURRENCY.fullmatch(value):
        raise ValueError(f"{value!r} is not a currency such as EUR")
    return value


class _NoEnvelope(Exception):
    """The answer is in another shape."""


def _rates_of(reader: KantataReader, table: str) -> list[Record]:
    """Return the records of a table's rates, by the path that this account has."""
    try:
        records = _records(reader, f"{_TABLES}/{table}/exchange_rates", "exchange_rates", {})
    except _NOT_READABLE:
        path, query = "foreign_exchange/exchange_rates", {"exchange_table_id": table}
        records = _records(reader, path, "exchange_rates", query)
    return [r for r in records if str(r.get("exchange_table_id", table)) == table]


def _records(reader: KantataReader, path: str, key: str, query: dict[str, str]) -> list[Record]:
    """Return all records of a list of exchange tables or rates.

    Raises:
        KantataUnavailable: If the list has fewer records than it counts.
    """
    found: dict[str, Record] = {}
    number, pages, count = 1, 1, 0
    while number <= pages:
        parameters: Parameters = {**query, "per_page": PER_PAGE, "page": number}
        answer = reader.json(path, parameters)
        page = _page(answer.body, key, answer.observed_at)
        if not page.whole:
            raise KantataUnavailable(f"page {number} of {path} lacks rows that Kantata counts")
        found |= page.records
        number, pages, count = number + 1, page.pages, page.count
    if len(found) < count:
        raise KantataUnavailable(
            f"the pages of {path} have {len(found)} rows, and Kantata counts {count}"
        )
    return list(found.values())


def _page(body: object, key: str, observed_at: Any) -> Page:  # noqa: ANN401 - passed on
    """Return a page of exchange rates or tables."""
    try:
        return read_page(body, key, observed_at)
    except KantataUnavailable as error:  # no envelope: it will not be one in a minute either
        raise _NoEnvelope(str(error)) from None


def _add(found: AccountRates, record: Record) -> None:
    """Add a rate as the account shows it, or why it cannot be used."""
    day, key = record.get("effective_date"), None
    try:
        key = RateKey(
            source=parse_currency(record.get("source_currency")),
            target=parse_currency(record.get("target_currency")),
            effective_date=date.fromisoformat(str(day)[:10]),
        )
        found.rates.append(ExchangeRate(*key, rate=parse_rate(record.get("rate"))))
    except ValueError as error:
        pair = f"{record.get('source_currency')} to {record.get('target_currency')}"
        found.odd.append(OddRate(key, f"{pair}, {day}: {error}"))
