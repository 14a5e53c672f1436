"""Run the demo: sync a sandbox, change it, show what was found, and write a change back."""

from __future__ import annotations

import shutil
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from rich.markup import escape

from pipelines.config.settings import KantataSettings, PushSettings
from pipelines.config.targets import duckdb_target
from pipelines.ops.figures import Figures, read_figures
from pipelines.ops.report import write_report
from pipelines.runtime.clock import utc_now
from pipelines.runtime.signals import stop_on_signals
from pipelines.sync.options import SyncOptions
from pipelines.sync.pipeline import sync
from pipelines.sync.session import locked
from pipelines.writeback import approvals
from pipelines.writeback.ledger_access import open_ledger
from pipelines.writeback.proposals import propose_changes
from pipelines.writeback.requests import single_request
from pipelines.writeback.service import push_changes
from sources.kantata_sandbox import Account, Sandbox
from warehouse import locks
from warehouse.ledger.change import Action
from warehouse.private_files import make_private_folder
from warehouse.reader import open_reader
from warehouse.target import Target

from . import render_changes, render_runs
from .errors import handle_errors
from .labels import labels
from .output import out
from .progress import console_observer
from .render_demo import backlog_chart, changes_table

FOLDER = Path(".milestones/demo")
PUBLISHED = Path("milestones-demo.duckdb")
REPORT = Path("milestones-demo.html")
MILESTONES = 2_000
CURRENCY = "USD"
PROPOSER, APPROVER = "ana", "ben"

_TRY = (
    "select currency, status, count(*) as milestones, sum(amount) as amount\n"
    "from kantata_marts.billing_milestones\n"
    "group by currency, status order by currency, status;"
)


def demo(with_console: bool = False) -> None:
    """Run the demo: sync a sandbox, change it, sync it again, and write a change back to it.

    Args:
        with_console: Whether to run the console on its data at the end.
    """
    with handle_errors(as_json=False, checks_settings=False), stop_on_signals():
        target = _demo()
        if with_console:
            from .demo_console import serve_demo_console

            _title("8. The console, with a user of each role")
            serve_demo_console(target, FOLDER)


def _demo() -> Target:
    """Run the steps of the demo in a new folder, print what each shows; return its warehouse."""
    target = _new_target()
    with Sandbox(milestones=MILESTONES) as sandbox:
        settings = KantataSettings()
        settings.kantata_api_url, settings.kantata_access_token = sandbox.url, sandbox.token
        _title(f"1. A sandbox of {MILESTONES:,} milestones, synced")
        _sync(settings, target)
        write_report(target, REPORT)  # a later report says what has changed since this one
        moved = _change(sandbox.account)
        _title("2. Seven changes in Kantata: events report six of them, which are read")
        _sync(settings, target)
        _title("3. A full scan, due once a day, finds the one without an event")
        _sync(settings, target, full=True)
        _title("4. What changed, from the mart billing_milestone_history")
        out.print(changes_table(_figures(target)))
        _title(f"5. {CURRENCY} not invoiced, by month, from the mart billing_schedule_monthly")
        out.print(backlog_chart(_figures(target), CURRENCY))
        _title("6. A change written back: one person proposes, another approves, push sends")
        _write_back(settings, target, moved)
    _title("7. The report, for people without a terminal")
    write_report(target, REPORT)
    out.print(f"Open [bold]{REPORT}[/] in a browser. It needs no network.")
    out.print(f"\nThe warehouse is [bold]{PUBLISHED}[/]. Open it and try:\n")
    out.print(escape(_TRY), soft_wrap=True)
    return target


def _title(text: str) -> None:
    """Print the title of a step of the demo."""
    out.print(f"\n[bold]{text}[/]", soft_wrap=True)


def _new_target() -> Target:
    """Return the warehouse of the demo, without what an earlier demo left."""
    locks.ensure_supported()
    shutil.rmtree(FOLDER, ignore_errors=True)
    for file in (PUBLISHED, REPORT):
        file.unlink(missing_ok=True)
    with suppress(OSError):  # the lock reports a folder that cannot be written
        make_private_folder(FOLDER.parent)  # a later sync keeps its files there
    target = duckdb_target(FOLDER / "loader.duckdb", PUBLISHED)
    # Never the ledger that the settings name: the demo changes nothing of the user's.
    return replace(target, find_ledger=lambda: f"sqlite:///{FOLDER / 'ledger.sqlite'}")


def _figures(target: Target) -> Figures:
    """Return the figures of the demo's warehouse."""
    with open_reader(target) as reader:
        return read_figures(reader)


def _sync(settings: KantataSettings, target: Target, *, full: bool = False) -> None:
    """Sync the sandbox of the demo into its warehouse, and print the result."""
    with console_observer() as observer, locked(target) as lock:
        result = sync(settings, lock, SyncOptions(full=full), observer)
    render_runs.render_sync(result)


def _change(account: Account) -> str:
    """Change the demo's account as people would; return a milestone that was moved."""
    milestones = account.milestones
    newest = sorted(milestones, key=int, reverse=True)
    billed = next(i for i in newest if milestones[i]["invoice_id"] is not None)
    unbilled = [i for i in newest if not account.invoices_of.get(i)]
    raised, slipped, silent, due, dropped = unbilled[:5]
    account.update_milestone(raised, amount_in_cents=milestones[raised]["amount_in_cents"] * 2)
    account.update_milestone(slipped, date_to_invoice="2027-03-31")
    account.silently_update_milestone(silent, date_to_invoice="2027-06-30")
    account.invoice_milestone(due)
    account.delete_milestone(dropped)
    account.cancel_invoice(milestones[billed]["invoice_id"])
    account.create_milestone(title="Change request 7", date_to_invoice="2027-01-15")
    return slipped


def _write_back(settings: KantataSettings, target: Target, milestone_id: str) -> None:
    """Propose, approve and push a change of the demo, and print its history."""
    request = single_request(
        Action.UPDATE,
        milestone_id=milestone_id,
        assignments=["date_to_invoice=2027-02-28"],
        reason="delivery is earlier than planned",
    )
    with open_reader(target) as reader, open_ledger(target, reader=reader, create=True) as ledger:
        (proposed,) = propose_changes(ledger, reader, [request], proposer=PROPOSER)
        change_id = str(proposed.change_id)
        approvals.approve(ledger, [change_id], actor=APPROVER)
        change = ledger.change(change_id)
    known = labels(target, [change])
    render_changes.render_change(change, known)
    with console_observer() as observer:
        result = push_changes(settings, PushSettings(enabled=True), target, observer, utc_now)
    render_changes.render_push(result, known)
    with open_ledger(target) as ledger:
        render_changes.render_audit(ledger.events(change_id))
