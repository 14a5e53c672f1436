"""The figures that people are shown: the report, the status, the demo and `due` read them here.

Each is a mart's, or a sum over one mart within one currency.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal

from pipelines.config.secrets import mask_secrets
from warehouse import client_queries, mart_queries
from warehouse.account import AccountBinding, bound_account
from warehouse.client_queries import AGES
from warehouse.errors import WarehouseError
from warehouse.mart_rows import Freshness, SlippedRow
from warehouse.raw import runs, summary
from warehouse.raw.runs import Run
from warehouse.reader import WarehouseReader

from .client_figures import CurrencyClients, figures_by_client
from .currency_figures import CurrencyFigures, currency_figures

_SLIPS = 15
_DAYS = 7  # of changes, in a report that replaces none


@dataclass(frozen=True, kw_only=True)
class ReconciledFigures:
    """One currency in the last validated run of the whole account, and now.

    Args:
        currency: ISO code.
        milestones_in_run, amount_in_run: What the run read, and found in the warehouse.
        milestones, amount: What the marts hold. A push may have changed some since that run.
    """

    currency: str
    milestones_in_run: int
    amount_in_run: Decimal | None
    milestones: int
    amount: Decimal | None


@dataclass(frozen=True, kw_only=True)
class Figures:
    """The figures of the whole account.

    Args:
        account: The account; None if the warehouse is bound to none yet.
        freshness: How current they are.
        validated: The last validated run that covered the whole account.
        currencies: The figures by currency, the one with the most milestones first.
        reconciled: The totals of that run and of now, by currency.
        slips: The milestones that slipped the most.
        receivables: Open invoices by currency, client and age.
        overdue: Overdue milestones by currency and client; none if no client is known.
        since: The moment after which changes count.
        observed_at: When the latest version was observed.
    """

    account: AccountBinding | None
    freshness: Freshness
    validated: Run
    currencies: Sequence[CurrencyFigures]
    reconciled: Sequence[ReconciledFigures]
    slips: Sequence[SlippedRow]
    receivables: Sequence[CurrencyClients]
    overdue: Sequence[CurrencyClients]
    since: datetime
    observed_at: datetime | None

    @property
    def has_changes(self) -> bool:
        """Whether any figures of changes are there."""
        return any(each.changes for each in self.currencies)

    def decimals(self, currency: str) -> int:
        """Return the digits after the point of a currency's amounts, as in the figures."""
        found = (each.decimals for each in self.currencies if each.currency == currency)
        return next(found, 2)


def read_figures(reader: WarehouseReader, since: datetime | None = None) -> Figures:
    """Read the figures from the marts.

    Args:
        reader: The warehouse.
        since: Changes observed after this moment count; None for those of the last seven days.

    Raises:
        WarehouseError: If no run was validated yet.
    """
    freshness, validated = read_freshness(reader), runs.last_whole_account_run(reader)
    if freshness is None or validated is None:
        raise WarehouseError(f"{reader.source} has no validated run yet: run `milestones sync`")
    start = since or freshness.read_up_to - timedelta(days=_DAYS)
    currencies = currency_figures(reader, as_of=freshness.as_of, since=start)
    return Figures(
        account=bound_account(reader),
        freshness=freshness,
        validated=validated,
        currencies=currencies,
        reconciled=_reconciled(validated, currencies, summary.uniform_minor_units(reader)),
        slips=mart_queries.slips(reader, _SLIPS),
        receivables=figures_by_client(client_queries.receivables_by_client(reader), AGES),
        overdue=figures_by_client(client_queries.overdue_by_client(reader), ["overdue"]),
        since=start,
        observed_at=mart_queries.last_observed(reader),
    )


def read_freshness(reader: WarehouseReader) -> Freshness | None:
    """Return how current the marts' figures are; None before the first validated run."""
    found = mart_queries.freshness(reader)
    if found is None or found.last_run_error is None:
        return found
    return replace(found, last_run_error=mask_secrets(found.last_run_error))


def _reconciled(
    run: Run, currencies: Iterable[CurrencyFigures], units: Mapping[str, Decimal]
) -> list[ReconciledFigures]:
    """Return the totals of a validated run next to the figures of each currency."""
    found = []
    for each in currencies:
        milestones, subunits = run.totals.get(each.currency, (0, 0))
        unit = units.get(each.currency)
        found.append(
            ReconciledFigures(
                currency=each.currency,
                milestones_in_run=milestones,
                amount_in_run=None if unit is None else subunits * unit,
                milestones=each.milestones,
                amount=each.amount,
            )
        )
    return found
