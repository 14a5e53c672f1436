"""`milestones demo`: the whole job against a sandbox, with a few changes in between."""

from __future__ import annotations

import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import duckdb
from rich.bar import Bar
from rich.markup import escape
from rich.table import Table

from pipelines.config.settings import KantataSettings
from pipelines.config.targets import duckdb_target
from pipelines.sync.options import SyncOptions
from pipelines.sync.pipeline import sync
from pipelines.sync.session import locked
from sources.kantata_sandbox import Account, Sandbox
from warehouse.target import Target

from . import render_runs
from .output import format_amount, out
from .progress import console_observer

FOLDER = Path(".milestones/demo")
PUBLISHED = Path("milestones-demo.duckdb")
MILESTONES = 2_000

_CHANGES = """
with numbered as (
    select id, version, change_type, raw::json as raw, lag(raw::json) over (
        partition by id order by version
    ) as before
    from kantata.billing_milestone_versions
)
select n.id, n.raw->>'title', n.change_type, n.raw->>'currency', c.unit_per_subunit,
    (n.before->>'amount_in_cents')::bigint, (n.raw->>'amount_in_cents')::bigint,
    n.before->>'date_to_invoice', n.raw->>'date_to_invoice',
    n.before->>'invoice_id', n.raw->>'invoice_id'
from numbered n join kantata.currencies c on c.iso_code = (n.raw->>'currency')
where n.version > 1 or n.id::bigint > ?
order by n.id::bigint
"""
_BY_MONTH = """
select strftime(date_to_invoice, '%Y-%m'), sum(amount_in_cents)::bigint, unit_per_subunit
from kantata.billing_milestones join kantata.currencies on iso_code = currency
where currency = 'USD' and invoice_id is null and date_to_invoice >= date '2026-11-01'
group by 1, 3 order by 1 limit 6
"""
_TRY = (
    "select currency, count(*), sum(amount_in_cents * unit_per_subunit) as amount\n"
    "from kantata.billing_milestones join kantata.currencies on iso_code = currency\n"
    "where invoice_id is null group by currency;"
)


def demo() -> None:
    """Sync a sandbox, change it, sync it by the feed and by a scan, and show what changed.

    Raises:
        KantataError, WarehouseError, Stopped: As ``sync`` does.
    """
    shutil.rmtree(FOLDER, ignore_errors=True)
    target = duckdb_target(FOLDER / "loader.duckdb", PUBLISHED)
    with Sandbox(milestones=MILESTONES) as sandbox:
        settings = KantataSettings()
        settings.kantata_api_url, settings.kantata_access_token = sandbox.url, sandbox.token
        out.print(f"[bold]1. A sandbox of {MILESTONES:,} milestones, synced[/]")
        _sync(settings, target, SyncOptions())
        last = _change(sandbox.account)
        out.print("\n[bold]2. Seven changes in it: its events tell of six, which are read[/]")
        _sync(settings, target, SyncOptions())
        out.print("\n[bold]3. A full scan, due once a day, finds the one nobody told of[/]")
        _sync(settings, target, SyncOptions(full=True))
    with duckdb.connect(str(PUBLISHED), read_only=True) as warehouse:
        out.print("\n[bold]4. What changed, from billing_milestone_versions[/]")
        out.print(_changes_table(warehouse.execute(_CHANGES, [last]).fetchall()))
        out.print("\n[bold]5. USD still to be invoiced, by month[/]")
        out.print(_chart(warehouse.execute(_BY_MONTH).fetchall()))
    out.print(f"\nEverything is in [bold]{PUBLISHED}[/]. Open it and try:\n")
    out.print(escape(_TRY), soft_wrap=True)


def _sync(settings: KantataSettings, target: Target, asked: SyncOptions) -> None:
    with console_observer() as observer, locked(target) as lock:
        result = sync(settings, lock, asked, observer)
    render_runs.render_sync(result)


def _change(account: Account) -> int:
    """Do what people do; gives the highest id there was before."""
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


def _changes_table(rows: list[tuple[Any, ...]]) -> Table:
    table = Table("milestone", "title", "what", "before", "after", box=None)
    for id_, title, what, currency, unit, *fields in rows:
        old_amount, amount, old_due, due, old_invoice, invoice = fields
        changes: dict[str, tuple[str, str]] = defaultdict(lambda: ("", ""))
        if old_amount != amount:
            before = "" if old_amount is None else format_amount(old_amount, unit)
            changes[f"amount, {currency}"] = (before, format_amount(amount, unit))
        if old_due != due:
            changes["date"] = (old_due or "", due or "none")
        if old_invoice != invoice:
            changes["invoice"] = (old_invoice or "none", invoice or "none")
        if what == "deleted":
            changes[f"amount, {currency}"] = (format_amount(amount, unit), "")
        for name, (before, after) in changes.items():
            table.add_row(id_, escape(title), f"{what}: {name}", before, after)
    return table


def _chart(rows: list[tuple[Any, ...]]) -> Table:
    table = Table.grid(padding=(0, 2))
    most = max((subunits for _, subunits, _ in rows), default=0)
    for month, subunits, unit in rows:
        bar = Bar(max(most, 1), 0, max(0, subunits), width=40, color="green")
        table.add_row(month, f"{format_amount(subunits, unit):>14}", bar)
    return table
