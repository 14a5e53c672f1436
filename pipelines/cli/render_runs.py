"""What a person sees: a bar on a terminal, plain lines elsewhere; results on stdout alone."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from pipelines.runtime.text import visible
from pipelines.sync.pipeline import RunObserver, SyncResult
from warehouse.models.build import Finding
from warehouse.raw.runs import Run

# A title is shown as it is: `:100:` is no emoji.
out = Console(highlight=False, emoji=False)
err = Console(stderr=True, highlight=False, emoji=False)
_LINE_EVERY = 5.0  # seconds between plain lines


@contextmanager
def console_observer() -> Iterator[RunObserver]:
    """Someone who watches a run on stderr."""
    if not err.is_terminal:
        yield _line_observer()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("pages, {task.fields[rows]:,} milestones"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err, transient=True) as bar:
        task = bar.add_task("starting", total=None, rows=0)

        def progress(rows: int, read: int, pages: int) -> None:
            bar.update(task, completed=read, total=pages, rows=rows)

        yield RunObserver(
            phase=lambda name: bar.update(task, description=name),
            progress=progress,
            note=lambda line: err.print(safe_markup(line)),
        )


def _line_observer() -> RunObserver:
    last = time.monotonic()

    def progress(rows: int, read: int, pages: int) -> None:
        nonlocal last
        if time.monotonic() - last >= _LINE_EVERY:
            last = time.monotonic()
            print_err(f"reading: {rows} milestones, page {read} of {pages}")

    return RunObserver(phase=print_err, progress=progress, note=print_err)


def print_err(line: str) -> None:
    """A line on stderr, or some, each whole, whatever the terminal's width."""
    for each in line.split("\n"):
        err.print(visible(each), markup=False, soft_wrap=True)


def print_out(line: str) -> None:
    """One line on stdout, whole."""
    out.print(visible(line), markup=False, soft_wrap=True)


def format_amount(subunits: int, unit: Decimal | None) -> str:
    """An amount in its currency's own decimals; subunits if its unit is unknown."""
    return f"{subunits:,} subunits" if unit is None else f"{subunits * unit.normalize():,f}"


def exact_amount(subunits: int, unit: Decimal | None) -> str | None:
    """An amount as JSON has it: text, since JSON numbers round; null if its unit is unknown."""
    return None if unit is None else f"{subunits * unit.normalize():f}"


def safe_markup(text: str) -> str:
    """A text of others within markup of ours."""
    return escape(visible(text))


def render_sync(result: SyncResult) -> None:
    """What a run did, on stdout."""
    run = result.run
    out.print(
        f"[green]proven[/]: {run.rows_read:,} milestones read, {run.added:,} added, "
        f"{run.changed:,} changed{_removed(run)} ({run.mode}: {run.why}; {run.requests} requests, "
        f"{run.duration_seconds:.1f} s)",
        soft_wrap=True,
    )
    if run.totals:
        out.print(totals_table(run.totals, result.units))
    for change in run.schema_changes:
        out.print(f"schema: {change}", markup=False, soft_wrap=True)
    if result.published:
        out.print(f"published {result.published}", markup=False, soft_wrap=True)
    for line in result.needs:
        out.print(f"[yellow]needs a person:[/] {safe_markup(line)}", soft_wrap=True)


def _removed(run: Run) -> str:
    counts = {"deleted": run.deleted, "restored": run.restored, "out of reach": run.access_lost}
    return "".join(f", {count:,} {what}" for what, count in counts.items() if count)


def render_marts(warnings: list[str]) -> None:
    """What building the marts led to, on stdout."""
    out.print("[green]built[/]: every blocking check holds")
    for line in warnings:
        out.print(f"[yellow]needs a person:[/] {safe_markup(line)}", soft_wrap=True)


def render_findings(found: list[Finding]) -> None:
    """What checks found wrong, on stdout: each with its first rows."""
    if not found:
        out.print("[green]every check holds[/]")
    for finding in found:
        out.print(
            f"[red]{finding.check}[/] ({finding.severity}): {finding.count} wrong. "
            f"{safe_markup(finding.about)}",
            soft_wrap=True,
        )
        table = Table(*map(safe_markup, finding.rows[0]), box=None)
        for row in finding.rows:
            table.add_row(*map(safe_markup, row.values()))
        out.print(table)


def totals_table(totals: dict[str, tuple[int, int]], units: dict[str, Decimal]) -> Table:
    """Milestones and money by currency; never a sum across currencies."""
    table = Table("currency", box=None)
    table.add_column("milestones", justify="right")
    table.add_column("amount", justify="right")
    for currency, (count, subunits) in sorted(totals.items()):
        table.add_row(
            safe_markup(currency), f"{count:,}", format_amount(subunits, units.get(currency))
        )
    return table


def sync_json(result: SyncResult) -> dict[str, object]:
    """A run as one JSON value: amounts as text, since JSON numbers round."""
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
            {"table": table, "id": id_, "reason": reason} for table, id_, reason in result.rejected
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
    """Totals by currency, as JSON."""
    return {
        currency: {
            "milestones": count,
            "subunits": subunits,
            "amount": exact_amount(subunits, units.get(currency)),
        }
        for currency, (count, subunits) in sorted(totals.items())
    }


def print_json(value: object) -> None:
    """One JSON value on stdout."""
    print(json.dumps(value, indent=2, default=str))
