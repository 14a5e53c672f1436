"""The console on the demo's data, with a user of each role and changes that wait."""

from __future__ import annotations

import gc
import secrets
from pathlib import Path

from pipelines.config.console_settings import ConsoleSettings
from pipelines.console.roles import Role
from pipelines.console.server import DEFAULT_PORT, Address, serve_console
from pipelines.console.services import Console
from pipelines.runtime.clock import utc_now
from pipelines.writeback.ledger_access import open_ledger
from pipelines.writeback.proposals import propose_changes
from pipelines.writeback.requests import single_request
from sources.kantata.errors import KantataMisconfigured
from warehouse.ledger.change import Action
from warehouse.reader import open_reader
from warehouse.target import Target

from .console import report_error, show_address
from .output import out

_PEOPLE = {"vera": Role.VIEWER, "ana": Role.PROPOSER, "ben": Role.APPROVER}
_WAITING = 5  # changes
_OPEN = (
    "select id from kantata_marts.billing_milestones where status = 'scheduled' "
    "and project is not null order by date_to_invoice, id limit 20"
)


def serve_demo_console(target: Target, folder: Path) -> None:
    """Run the console on the demo's warehouse until Ctrl-C.

    Args:
        target: The demo's warehouse.
        folder: The folder of its files.
    """
    _propose(target)
    gc.collect()  # what the sync left unreachable may keep the published file open
    settings = ConsoleSettings(users=folder / "console.sqlite")
    console = Console(target=target, settings=settings, now=utc_now)
    password = secrets.token_urlsafe(12)
    for name, role in _PEOPLE.items():
        console.users.add(name, role, password)
        out.print(f"  [bold]{name}[/], {role}")
    out.print(f"The password of all three is [bold]{password}[/]", soft_wrap=True)
    try:
        serve_console(console, Address(port=DEFAULT_PORT), show_address, report_error)
    except KantataMisconfigured:  # another program has the port
        serve_console(console, Address(port=0), show_address, report_error)


def _propose(target: Target) -> None:
    """Propose some changes in the demo's ledger, for somebody else to decide on."""
    with open_reader(target) as reader, open_ledger(target, reader=reader, create=True) as ledger:
        taken = {change.milestone_id for change in ledger.changes()}
        ids = [id_ for (id_,) in reader.rows(_OPEN) if id_ not in taken][:_WAITING]
        wanted = [
            single_request(
                Action.UPDATE,
                milestone_id=id_,
                assignments=["date_to_invoice=2027-04-30"],
                reason="the project starts two months later",
            )
            for id_ in ids
        ]
        propose_changes(ledger, reader, wanted, proposer="ana")
