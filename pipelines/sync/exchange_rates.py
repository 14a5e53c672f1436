"""The exchange rates of a run: the account's, and a file's for pairs that the account lacks."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date, datetime, timedelta
from pathlib import Path

from pipelines.config.secrets import mask_secrets
from pipelines.config.settings import KantataSettings, shown_name
from pipelines.runtime.clock import Now
from pipelines.runtime.csv_file import UnreadableCsv, read_csv
from pipelines.runtime.observer import RunObserver
from sources.kantata.errors import KantataUnavailable
from sources.kantata.exchange_rates import (
    AccountRates,
    OddRate,
    parse_currency,
    parse_rate,
    read_account_rates,
)
from warehouse.database import Database
from warehouse.errors import WarehouseMisconfigured
from warehouse.raw.exchange_rates import (
    FROM_ACCOUNT,
    Rate,
    known_currencies,
    present_rates,
    rates_of_files,
    store_rates,
)
from warehouse.target import Target
from warehouse.words import counted

_COLUMNS = ("date", "source", "target", "rate")
_MOST_NAMED = 5
_CORRECT = (
    "Correct it in Kantata. Until then, the rate that was read before for this pair and date "
    "applies, if there is one"
)
_READ_EVERY = timedelta(hours=23)  # once a day, also if a nightly run starts a little earlier


@dataclass(frozen=True, kw_only=True)
class RunRates:
    """The exchange rates that a run read.

    Args:
        account: Those of the account; None to keep those that an earlier run read, also if the
            account does not show them any more.
        file: Those of the file, for pairs of which the account has none; None to keep those that an
            earlier run read.
        file_name: Its name.
        problems: Why the file or rates of the account cannot be used, for people, a line each.
        account_was_read: Whether the account was asked for its rates, and has answered.
    """

    account: tuple[Rate, ...] | None = None
    file: tuple[Rate, ...] | None = ()
    file_name: str = ""
    problems: tuple[str, ...] = ()
    account_was_read: bool = False


def read_rates(
    target: Target,
    kantata: KantataSettings,
    observer: RunObserver,
    *,
    account_is_due: bool,
    known: Collection[Rate],
) -> RunRates:
    """Read the exchange rates of a run, if the target has a reporting currency.

    Args:
        target: The warehouse.
        kantata: The settings of the source.
        observer: Informed if the account's rates cannot be read.
        account_is_due: Whether the account is asked.
        known: The rates that were read from the account and are valid now.
    """
    if not target.reporting_currency:
        return RunRates()
    found = RunRates()
    if path := target.exchange_rates:
        try:
            found = RunRates(file=read_rates_file(path), file_name=path.name)
        except WarehouseMisconfigured as error:
            line = f"{error}. Until then the rates read before count"
            found = RunRates(file=None, problems=(line,))
    if not account_is_due:
        return found
    try:
        account = read_account_rates(kantata.reader(attempts=2))
    except KantataUnavailable as error:
        observer.note(f"Kantata's exchange rates cannot be read now: {mask_secrets(str(error))}")
        return found
    return _with_account_rates(found, account, observer, known)


def _with_account_rates(
    found: RunRates, account: AccountRates, observer: RunObserver, known: Collection[Rate]
) -> RunRates:
    """Return the rates of a run, with those that the account has shown.

    Args:
        found: The rates of the run without them.
        account: What the account has shown.
        observer: Informed if it shows no rates any more.
        known: The rates that were read from the account and are valid now.
    """
    if account.reason:
        if known:
            observer.note(
                "Kantata's exchange rates cannot be read any more, so those that were read before "
                f"apply: {mask_secrets(account.reason)}"
            )
        return replace(found, account_was_read=True)
    if known and not (account.rates or account.odd):
        others = "only those of the file" if found.file != () else "those that were read before"
        observer.note(f"the account's default exchange table has no rates any more: {others} apply")
    rates, doubled = _unambiguous(Rate(*rate) for rate in account.rates)
    refused: set[tuple[str, str, date] | None] = {odd.key for odd in account.odd}
    refused |= {rate[:3] for rate in doubled}
    refused -= {rate[:3] for rate in rates}
    return replace(
        found,
        account=(*rates, *(rate for rate in known if rate[:3] in refused)),
        problems=(*found.problems, *_problems(account.odd, doubled)),
        account_was_read=True,
    )


def _problems(odd: Sequence[OddRate], doubled: Sequence[Rate]) -> list[str]:
    """Return a line for each rate of the account that cannot be used; beyond a few, their number.

    Args:
        odd: Those whose values cannot be used.
        doubled: One of each pair and date with several.
    """
    lines = [f"an exchange rate of Kantata is not used: {rate.line}. {_CORRECT}" for rate in odd]
    lines += [
        f"Kantata has two exchange rates of {rate.source} to {rate.target} on "
        f"{rate.effective_date}: neither is used. {_CORRECT}"
        for rate in doubled
    ]
    if (more := len(lines) - _MOST_NAMED) > 0:
        lines[_MOST_NAMED:] = [
            f"{counted(more, 'more exchange rate')} of Kantata cannot be used either"
        ]
    return list(map(mask_secrets, lines))


def _unambiguous(rates: Iterable[Rate]) -> tuple[list[Rate], list[Rate]]:
    """Return the rates of pairs and dates that have one, and one of those that have several."""
    by_key: dict[tuple[str, str, date], set[Rate]] = {}
    for rate in rates:
        by_key.setdefault(rate[:3], set()).add(rate)
    one = [rate for found in by_key.values() if len(found) == 1 for rate in found]
    return one, [min(found) for found in by_key.values() if len(found) > 1]


def read_rates_file(path: Path) -> tuple[Rate, ...]:
    """Return the exchange rates of a CSV file with the columns date, source, target and rate.

    Raises:
        WarehouseMisconfigured: If it cannot be used, with each line that is wrong.
    """
    name = shown_name("warehouse.exchange_rates")
    try:
        columns, rows = read_csv(path, _COLUMNS)
    except UnreadableCsv as error:
        raise WarehouseMisconfigured(f"{name}: " + " ".join(map(str, error.args))) from None
    columns = [column.lower() for column in columns]
    if missing := [column for column in _COLUMNS if column not in columns]:
        raise WarehouseMisconfigured(
            f"{name}: {path} has no column {' and no column '.join(missing)}: its first line must "
            f"name {', '.join(_COLUMNS)}"
        )
    rates: dict[tuple[str, str, date], tuple[Rate, int]] = {}
    problems: list[str] = []
    for line, cells in rows:
        try:
            rate = _rate(dict(zip(columns, map(str.strip, cells), strict=True)))
        except ValueError as error:
            problems.append(f"line {line}: {error}")
            continue
        earlier, on = rates.setdefault(rate[:3], (rate, line))
        if earlier != rate:
            problems.append(f"line {line}: line {on} has another rate of this pair and date")
    if problems:
        more = len(problems) - _MOST_NAMED
        rest = f"; and {counted(more, 'more line')}" if more > 0 else ""
        listed = "; ".join(problems[:_MOST_NAMED])
        raise WarehouseMisconfigured(f"{name}: {path}: {listed}{rest}. Correct the file")
    return tuple(rate for rate, _ in rates.values())


def _rate(cells: dict[str, str]) -> Rate:
    """Return the exchange rate in a row of a file.

    Raises:
        ValueError: If a cell is wrong.
    """
    try:
        day = date.fromisoformat(cells["date"].removesuffix(" 00:00:00"))
    except ValueError:
        raise ValueError(f"the date {cells['date']!r} is not one such as 2026-01-31") from None
    source, target = (parse_currency(cells[name].upper()) for name in ("source", "target"))
    return Rate(source, target, day, parse_rate(cells["rate"]))


def is_due(known: Collection[Rate], *, read_at: datetime | None, now: datetime | None) -> bool:
    """Return whether the account is asked for its exchange rates: it may have tens of thousands.

    Args:
        known: The rates that were read from it and are valid now.
        read_at: Kantata's time when they were read last; None if they never were.
        now: Kantata's time at the start of the run; None if it is not known.
    """
    if not known or read_at is None or now is None:
        return True
    return abs(now - read_at) > _READ_EVERY


def store(database: Database, found: RunRates, now: Now) -> None:
    """Store the exchange rates of a run; those of the account take precedence, pair by pair.

    Without any, those of earlier runs stay.
    """
    account = found.account
    if account is None:
        account = tuple(present_rates(database, FROM_ACCOUNT))
    pairs = {rate.pair for rate in account}
    file = rates_of_files(database)
    if found.file is not None:
        file = dict.fromkeys(found.file, found.file_name)
    rates = {rate: name for rate, name in file.items() if rate.pair not in pairs}
    rates |= dict.fromkeys(account, FROM_ACCOUNT)
    if rates:
        store_rates(database, rates, observed_at=now())


def store_file_rates(database: Database, target: Target, now: Now) -> None:
    """Store the exchange rates of the file, which may have changed.

    Raises:
        WarehouseMisconfigured: If the file cannot be used.
    """
    path = target.exchange_rates
    if target.reporting_currency and path:
        store(database, RunRates(file=read_rates_file(path), file_name=path.name), now)


def check_currency(database: Database, currency: str) -> None:
    """Check that the account has the reporting currency, since its minor unit must be known.

    Raises:
        WarehouseMisconfigured: If it does not.
    """
    known = known_currencies(database) if currency else []
    if known and currency not in known:
        raise WarehouseMisconfigured(
            f"{shown_name('warehouse.reporting_currency')} is {currency}, which is not among "
            f"Kantata's currencies, so nothing is published. Write one of {', '.join(known[:30])}"
        )
