"""Bind a ledger to one Kantata account, so that its changes are never written to another."""

from __future__ import annotations

from urllib.parse import urlsplit

from pipelines.config.settings import LOCAL_HOSTS
from sources.kantata import KantataReader
from sources.kantata.extract.deletions import NOT_ALLOWED
from warehouse.errors import WarehouseMisconfigured
from warehouse.ledger.account import AccountBinding, bind_account, bound_account
from warehouse.ledger.store import Ledger


def check_account(ledger: Ledger, reader: KantataReader, bind: bool) -> None:
    """Check the account binding: that the ledger is bound to the connected account.

    Args:
        ledger: The ledger of changes.
        reader: Connected to the account.
        bind: Whether to bind a ledger that is not bound yet.

    Raises:
        KantataError: If the account does not answer.
        WarehouseMisconfigured: If the ledger is bound to another account.
    """
    found, bound = connected_account(reader), bound_account(ledger)
    if bound is None:
        if bind:
            bind_account(ledger, found)
        return
    ids = {found.account_id, bound.account_id} - {None}
    if found.address != bound.address or len(ids) > 1:
        raise WarehouseMisconfigured(
            f"the ledger has changes for {_describe(bound)}, but the connected account is "
            f"{_describe(found)}: nothing was written. Correct KANTATA_API_URL and the token, or "
            "set LEDGER__URL to another ledger"
        )


def connected_account(reader: KantataReader) -> AccountBinding:
    """Return the connected account to bind: its address, and its id if the token may read it.

    Raises:
        KantataError: If no account answers.
    """
    parts = urlsplit(reader.url)
    host = str(parts.hostname)
    address = f"{host}:{parts.port}" if parts.port else host
    if host in LOCAL_HOSTS:
        address = "this machine"  # a sandbox gets another port each time it is started
    try:
        page = reader.page("users/me", {})
        ids = [user.get("account_id") for user in page.records.values()]
    except NOT_ALLOWED:
        ids = []
    account_id = next((str(id_) for id_ in ids if id_ is not None), None)
    return AccountBinding(f"{address}{parts.path}", account_id)


def _describe(account: AccountBinding) -> str:
    """Return an account binding as text: the account's id and its address."""
    return f"account {account.account_id or 'unknown'} at {account.address}"
