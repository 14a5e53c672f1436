"""Bind a warehouse to one Kantata account, so that two accounts are never mixed."""

from __future__ import annotations

from urllib.parse import urlsplit

from sources.kantata import KantataReader
from sources.kantata.api.transport import is_loopback
from sources.kantata.errors import KantataForbidden, KantataRefused
from sources.kantata.settings import MILESTONES_PATH
from warehouse.account import AccountBinding
from warehouse.errors import AnotherAccount
from warehouse.raw.account_binding import Origin

LOCAL = "this machine"  # a sandbox gets another port each time it is started


def connected_account(reader: KantataReader, bound: AccountBinding | None = None) -> AccountBinding:
    """Return the connected account to bind: its address, and its id if the token may read it.

    Args:
        reader: Connected to the account.
        bound: The account that the warehouse or ledger is bound to, if it is known.

    Raises:
        KantataError: If no account answers.
    """
    expect_bound(reader, bound)
    try:
        page = reader.page("users/me", {})
        ids = [user.get("account_id") for user in page.records.values()]
    except (KantataForbidden, KantataRefused):
        ids = []
    account_id = next((str(id_) for id_ in ids if id_ is not None), None)
    return AccountBinding(_address(reader.url), account_id)


def expect_bound(reader: KantataReader, bound: AccountBinding | None) -> None:
    """Let a reader expect the API at the address of an account binding: it has answered there.

    Anything else that answers there, such as a page of maintenance, is not a wrong address.
    """
    if bound is not None and bound.address == _address(reader.url):
        reader.expect_api()


def _address(url: str) -> str:
    """Return the host and path of an account's API; every address of this machine is the same."""
    parts = urlsplit(url)
    host = str(parts.hostname)
    address = f"{host}:{parts.port}" if parts.port else host
    return f"{LOCAL if is_loopback(host) else address}{parts.path}"


def check_warehouse_account(
    origin: Origin,
    account: AccountBinding,
    reader: KantataReader,
    ledger_account: AccountBinding | None,
) -> AccountBinding:
    """Check the account binding of a warehouse; return the binding that it should have.

    A warehouse that is not bound is judged by what it holds: its ledger's account, the accounts of
    its projects, or else whether the account knows its milestones.

    Args:
        origin: What the warehouse says of its account.
        account: The connected account.
        reader: Connected to the account.
        ledger_account: The account that the warehouse's ledger is bound to; None if unknown.

    Raises:
        KantataError: If the account does not answer.
        AnotherAccount: If the warehouse was filled from another account.
    """
    bound = origin.binding or (ledger_account if origin.milestone_ids else None)
    if bound is not None:
        if not bound.is_same_account(account):
            raise _another_account(str(bound), account)
        return bound.completed(account)
    if origin.account_ids and account.account_id:
        if account.account_id not in origin.account_ids:
            raise _another_account(f"account {' and '.join(sorted(origin.account_ids))}", account)
    elif origin.milestone_ids and not _knows_any(reader, list(origin.milestone_ids)):
        raise _another_account(f"an account with the milestone {origin.milestone_ids[0]}", account)
    return account


def _another_account(filled_from: str, account: AccountBinding) -> AnotherAccount:
    """Return the error for a warehouse that is bound to another account than the connected one."""
    return AnotherAccount(
        f"this warehouse was filled from {filled_from}, but {account} is connected: "
        "nothing was read or written. Use another folder or another database for this account, or "
        "correct KANTATA_API_URL and the token. If the account itself has moved: "
        "milestones rebind --reason TEXT"
    )


def _knows_any(reader: KantataReader, milestone_ids: list[str]) -> bool:
    """Return whether the account to bind can read any of these milestones."""
    return any(page.records for page in reader.only(MILESTONES_PATH, milestone_ids))
