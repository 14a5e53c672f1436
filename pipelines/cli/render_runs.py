"""Render the results of runs, marts and checks on stdout, or as JSON."""

from __future__ import annotations

from decimal import Decimal

from rich.table import Table

from pipelines.sync.pipeline import SyncResult
from warehouse.models.build import Finding
from warehouse.raw.runs import Run
from warehouse.words import counted

from .output import exact_amount, format_amount, out, print_out, safe_markup


def render_sync(result: SyncResult) -> None:
    """Print the result of a run of the sync."""
    run = result.run
    out.print(
        f"[green]validated[/]: {counted(run.rows_read, 'milestone')} read, {run.added:,} added, "
        f"{run.changed:,} changed{_removed(run)} ({run.mode}: {safe_markup(run.why)}; "
        f"{counted(run.requests, 'request')}, "
        f"{run.duration_seconds:.1f} s)",
        soft_wrap=True,
    )
    if run.totals:
        out.print(totals_table(run.totals, result.units))
    for change in run.schema_changes:
        print_out(f"schema: {change}")
    if result.published:
        print_out(f"published {result.published}")
    for line in result.needs:
        render_need(line)


def render_need(line: str) -> None:
    """Print what requires action after a run; nothing if the line is empty."""
    if line:
        out.print(f"[yellow]action required:[/] {safe_markup(line)}", soft_wrap=True)


def _removed(run: Run) -> str:
    """Return how many milestones a run deleted, restored or lost access to, as text."""
    counts = {"deleted": run.deleted, "restored": run.restored, "access lost": run.access_lost}
    return "".join(f", {count:,} {what}" for what, count in counts.items() if count)


def render_marts(warnings: list[str]) -> None:
    """Print the result of a run that rebuilt the marts."""
    out.print("[green]built[/]: every blocking check passed")
    for line in warnings:
        out.print(f"[yellow]action required:[/] {safe_markup(line)}", soft_wrap=True)


def render_findings(findings: list[Finding]) -> None:
    """Print what a run of the checks found, each with its first rows."""
    if not findings:
        out.print("[green]every check passed[/]")
    for finding in findings:
        out.print(
            f"[red]{finding.check}[/] ({finding.severity}) fails for "
            f"{counted(finding.count, 'row')}. {safe_markup(finding.about)}",
            soft_wrap=True,
        )
        table = Table(*map(safe_markup, finding.rows[0]), box=None)
        for row in finding.rows:
            table.add_row(*map(safe_markup, row.values()))
        out.print(table)


def totals_table(totals: dict[str, tuple[int, int]], units: dict[str, Decimal]) -> Table:
    """Return a table of a run's milestones and amounts by currency."""
    table = Table("currency", box=None)
    table.add_column("milestones", justify="right")
    table.add_column("amount", justify="right")
    for currency, (count, subunits) in sorted(totals.items()):
        table.add_row(
            safe_markup(currency), f"{count:,}", format_amount(subunits, units.get(currency))
        )
    return table


def sync_json(result: SyncResult) -> dict[str, object]:
    """Return the result of a run of the sync as JSON."""
    run = result.run
    return {
        "run_id": run.run_id,
        "status": run.status,
        "exit_code": result.exit_code,
        "mode": run.mode,
        "why": run.why,
        "started_at": run.started_at.isoformat(),
        "duration_seconds": run.duration_seconds,
        "requests": run.requests,
        "rows_read": run.rows_read,
        "added": run.added,
        "changed": run.changed,
        "deleted": run.deleted,
        "restored": run.restored,
        "access_lost": run.access_lost,
        "rejected": [
            {"table": record.table, "id": record.id, "reason": record.reason}
            for record in result.rejected
        ],
        "totals": totals_json(run.totals, result.units),
        "side_rows": run.side_rows,
        "schema_changes": run.schema_changes,
        "warnings": run.warnings,
        "published": str(result.published) if result.published else None,
    }


def totals_json(
    totals: dict[str, tuple[int, int]], units: dict[str, Decimal]
) -> dict[str, dict[str, object]]:
    """Return a run's totals by currency as JSON; amounts are text, since JSON numbers round."""
    return {
        currency: {
            "milestones": count,
            "subunits": subunits,
            "amount": exact_amount(subunits, units.get(currency)),
        }
        for currency, (count, subunits) in sorted(totals.items())
    }
