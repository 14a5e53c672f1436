"""Check that a sync reads the account that its warehouse was filled from."""

from __future__ import annotations

from contextlib import closing
from typing import NamedTuple

from pipelines.config.account_binding import check_warehouse_account, connected_account
from pipelines.config.settings import KantataSettings
from pipelines.runtime.clock import CLOCK_TOLERANCE, clock_difference
from pipelines.runtime.observer import RunObserver
from sources.kantata import KantataReader
from sources.kantata.settings import ATTEMPTS
from warehouse.account import AccountBinding
from warehouse.raw.account_binding import Origin
from warehouse.target import Target


class CheckedAccount(NamedTuple):
    """The result of a sync's check of the account.

    Args:
        binding: The account binding that the warehouse should have.
        requests: Requests sent for it.
    """

    binding: AccountBinding
    requests: int


def check_account(
    origin: Origin,
    settings: KantataSettings,
    target: Target,
    observer: RunObserver,
    account: AccountBinding | None,
) -> CheckedAccount:
    """Check that the account a sync reads is the one its warehouse was filled from.

    Args:
        origin: What the warehouse says of its account.
        settings: The address of Kantata, and the token.
        target: The warehouse.
        observer: Informed of each request.
        account: The connected account, if the caller has asked for it.

    Raises:
        KantataError: If the account does not answer.
        WarehouseMisconfigured: If the warehouse was filled from another account.
    """
    is_unbound = origin.binding is None and origin.milestone_ids
    ledger_account = _ledger_account(target) if is_unbound else None
    with closing(settings.reader(ATTEMPTS, observer.on_request, observer.note)) as reader:
        account = account or connected_account(reader, origin.binding)
        binding = check_warehouse_account(origin, account, reader, ledger_account)
        _report_clock(reader, observer)
        return CheckedAccount(binding, reader.requests)


def _ledger_account(target: Target) -> AccountBinding | None:
    """Return the account that the ledger of a sync's warehouse is bound to; None if unknown."""
    from pipelines.config.ledger_binding import bound_ledger_account  # here: it needs SQLAlchemy

    return bound_ledger_account(target)


def _report_clock(reader: KantataReader, observer: RunObserver) -> None:
    """Report that this machine's clock differs from the account's by some minutes, if it does."""
    ahead = reader.machine_is_ahead
    if ahead is not None and abs(ahead) > CLOCK_TOLERANCE:
        observer.note(f"{clock_difference(ahead)}: correct it")
