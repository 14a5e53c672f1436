"""The preflight's checks of what the token's user may not see: clients, leads, exchange rates."""

from __future__ import annotations

from pipelines.config.settings import shown_name
from pipelines.runtime.exit_codes import ExitCode
from pipelines.sync.exchange_rates import read_rates_file
from sources.kantata import KantataReader
from sources.kantata.errors import KantataError
from sources.kantata.exchange_rates import read_account_rates
from sources.kantata.extract.project_details import DETAILS_QUERY, details_of
from warehouse.errors import WarehouseMisconfigured
from warehouse.raw.exchange_rates import Rate
from warehouse.target import Target
from warehouse.words import counted

from .check_result import CheckResult

_SAMPLED = 20


def check_clients(reader: KantataReader) -> CheckResult:
    """Check in the preflight which of client, leads and stage the token can read."""
    try:
        page = reader.page("workspaces", {**DETAILS_QUERY, "per_page": _SAMPLED})
    except KantataError as error:
        return CheckResult("clients", f"not readable, so marts show none: {error}")
    details = [details_of(record, page) for record in page.records.values()]
    hidden = sorted({name for d in details if d["hidden"] for name in d["hidden"].split(", ")})
    if hidden:
        return CheckResult("clients", f"readable without {', '.join(hidden)}: marts say so")
    return CheckResult("clients", "readable, with leads and stages")


def check_rates(reader: KantataReader, target: Target) -> CheckResult:
    """Check in the preflight that there are exchange rates for the reporting currency."""
    name, currency = "exchange rates", target.reporting_currency
    try:
        file = read_rates_file(target.exchange_rates) if target.exchange_rates else ()
        account = read_account_rates(reader)
    except WarehouseMisconfigured as error:
        return CheckResult(name, str(error), error.exit_code)
    except KantataError as error:
        return CheckResult(name, str(error), error.exit_code)
    own = [Rate(*rate) for rate in account.rates]
    shown = []
    for source, rates in (("Kantata", own), (str(target.exchange_rates), file)):
        days = [rate.effective_date for rate in rates if rate.target == currency]
        if days:
            count = counted(len(days), "rate")
            shown.append(f"{source} has {count} to {currency}, of {min(days)} to {max(days)}")
    if shown:
        return CheckResult(name, "; ".join(shown))
    why = f"Kantata shows none ({account.reason})" if account.reason else "Kantata shows none"
    setting = shown_name("warehouse.exchange_rates")
    return CheckResult(
        name,
        f"there are none to {currency}: {why}, and {setting} has none. Let it name a CSV file with "
        f"the columns date, source, target and rate, and {currency} as target",
        ExitCode.ACTION_REQUIRED,
    )
