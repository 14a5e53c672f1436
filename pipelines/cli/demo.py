"""Run the demo: sync a sandbox, change it, and show what the next syncs found."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

import duckdb
from rich.bar import Bar
from rich.markup import escape
from rich.table import Table

from pipelines.config.settings import KantataSettings
from pipelines.config.targets import duckdb_target
from pipelines.runtime.signals import stop_on_signals
from pipelines.sync.options import SyncOptions
from pipelines.sync.pipeline import sync
from pipelines.sync.session import locked
from sources.kantata_sandbox import Account, Sandbox
from warehouse import locks
from warehouse.private_files import make_private_folder
from warehouse.raw.history import (
    PeriodToInvoice,
    VersionChange,
    periods_to_invoice,
    version_changes,
)
from warehouse.target import Target

from . import render_runs
from .errors import handle_errors
from .output import format_amount, out, safe_markup
from .progress import console_observer

FOLDER = Path(".milestones/demo")
PUBLISHED = Path("milestones-demo.duckdb")
MILESTONES = 2_000

_TRY = (
    "select currency, count(*) as milestones, sum(amount) as amount\n"
    "from kantata_marts.billing_milestones\n"
    "where status <> 'invoiced' group by currency;"
)


def demo() -> None:
    """Run the demo: sync a sandbox, change it, sync again twice, and show what changed."""
    with handle_errors(as_json=False, checks_settings=False), stop_on_signals():
        _demo()


def _demo() -> None:
    """Run the steps of the demo in a new folder, and print what each of them shows."""
    locks.ensure_supported()
    shutil.rmtree(FOLDER, ignore_errors=True)
    PUBLISHED.unlink(missing_ok=True)
    with suppress(OSError):  # the lock reports a folder that cannot be written
        make_private_folder(FOLDER.parent)  # a later sync keeps its files there
    target = duckdb_target(FOLDER / "loader.duckdb", PUBLISHED)
    with Sandbox(milestones=MILESTONES) as sandbox:
        settings = KantataSettings()
        settings.kantata_api_url, settings.kantata_access_token = sandbox.url, sandbox.token
        out.print(f"[bold]1. A sandbox of {MILESTONES:,} milestones, synced[/]")
        _sync(settings, target)
        last = _change(sandbox.account)
        out.print("\n[bold]2. Seven changes: events report six of them, which are read[/]")
        _sync(settings, target)
        out.print("\n[bold]3. A full scan, due once a day, finds the one without an event[/]")
        _sync(settings, target, full=True)
    with duckdb.connect(str(PUBLISHED), read_only=True) as warehouse:
        warehouse.execute("set timezone = 'UTC'")  # TZ may name no time zone that Python knows
        out.print("\n[bold]4. What changed, from billing_milestone_versions[/]")
        out.print(_changes_table(version_changes(warehouse, last)))
        periods = periods_to_invoice(warehouse, "USD", months=6)
        total = format_amount(sum(p.subunits for p in periods), periods[0].unit)
        out.print(f"\n[bold]5. USD {total} still to be invoiced, by month[/]")
        out.print(_chart(periods))
    out.print(f"\nEverything is in [bold]{PUBLISHED}[/]. Open it and try:\n")
    out.print(escape(_TRY), soft_wrap=True)


def _sync(settings: KantataSettings, target: Target, *, full: bool = False) -> None:
    """Sync the sandbox of the demo into its warehouse, and print the result."""
    with console_observer() as observer, locked(target) as lock:
        result = sync(settings, lock, SyncOptions(full=full), observer)
    render_runs.render_sync(result)


def _change(account: Account) -> int:
    """Change the demo's account as people would; return the highest milestone id before that."""
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
    return int(newest[0])


def _changes_table(changes: list[VersionChange]) -> Table:
    """Return the demo's table of changes: a row for each field that differs."""
    table = Table("milestone", "title", "what", "before", "after", box=None)
    for change in changes:
        for name, (before, after) in _changed_fields(change).items():
            what = f"{change.change_type}: {name}"
            table.add_row(change.milestone_id, safe_markup(change.title), what, before, after)
    return table


def _changed_fields(change: VersionChange) -> dict[str, tuple[str, str]]:
    """Return each field that differs in a change of the demo: its value before and after."""
    fields: dict[str, tuple[str, str]] = {}
    amount = format_amount(change.amount, change.unit)
    if change.amount_before != change.amount:
        old = change.amount_before
        before = "" if old is None else format_amount(old, change.unit)
        fields[f"amount, {change.currency}"] = (before, amount)
    if change.due_before != change.due:
        fields["date"] = (change.due_before or "", change.due or "none")
    if change.invoice_before != change.invoice:
        fields["invoice"] = (change.invoice_before or "none", change.invoice or "none")
    if change.change_type == "deleted":
        fields[f"amount, {change.currency}"] = (amount, "")
    return fields


def _chart(periods: list[PeriodToInvoice]) -> Table:
    """Return the demo's bar chart of amounts to invoice, a row for each period."""
    table = Table.grid(padding=(0, 2))
    most = max((period.subunits for period in periods), default=0)
    for period in periods:
        colour = "red" if period.name == "overdue" else "green"
        bar = Bar(max(most, 1), 0, max(0, period.subunits), width=40, color=colour)
        table.add_row(period.name, f"{format_amount(period.subunits, period.unit):>14}", bar)
    return table
