"""The command line.

Exit codes: 0 done; 1 failed, the last good state stands; 2 wrong use or configuration; 3 done and
published, but something needs a person; 75 try again later; 130 and 143 stopped by a signal.
"""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext
from typing import Annotated

import typer
from rich.markup import escape

from pipelines.config.settings import duration, kantata_settings, without_secrets
from pipelines.config.targets import place
from pipelines.ops.job import Part, Ran
from pipelines.ops.job import run as run_all
from pipelines.ops.json_log import Log
from pipelines.ops.marts import exit_code, find, rebuild
from pipelines.ops.migrate import move
from pipelines.ops.preflight import check as run_check
from pipelines.ops.status import print_status, status_json
from pipelines.ops.status import status as read_status
from pipelines.runtime.signals import stoppable
from pipelines.sync.pipeline import NEEDS_A_PERSON, Asked, utc_now
from pipelines.sync.pipeline import sync as run_sync
from pipelines.sync.session import holding
from sources.kantata.errors import KantataError
from sources.kantata_sandbox import serve

from . import changes, render_changes, render_runs
from .demo import demo as run_demo
from .errors import ending
from .labels import Labels, labels
from .options import DestinationOption, JsonOption, LogFormat, WaitOption, Warehouse

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Billing milestones of Kantata OX in DuckDB or Postgres, proven to the cent.",
)
changes.add_to(app)


@app.command()
def sync(
    destination: DestinationOption = Warehouse.DUCKDB,
    full: Annotated[bool, typer.Option("--full", help="Scan, whatever is due.")] = False,
    allow_deletes: Annotated[
        bool,
        typer.Option(
            "--allow-deletes",
            help="Mark what is missing as deleted, however much; with PROJECT, only of projects "
            "nobody can read any more.",
        ),
    ] = False,
    projects: Annotated[
        list[str] | None, typer.Argument(metavar="PROJECT", help="For --allow-deletes.")
    ] = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Read what changed, or everything; load it, prove it, publish it."""
    with ending(as_json), stoppable():
        if projects and not allow_deletes:
            raise typer.BadParameter(f"{projects[0]}: a project is only for --allow-deletes")
        asked = Asked(full, allow_deletes and not projects, frozenset(projects or ()))
        warehouse = place(destination)
        settings = kantata_settings()
        with render_runs.watcher() as watcher, holding(warehouse, wait, watcher.note) as hold:
            result = run_sync(settings, hold, asked, watcher)
        if as_json:
            render_runs.print_json(render_runs.synced_json(result))
        else:
            render_runs.synced(result)
        raise typer.Exit(result.exit_code)


@app.command()
def run(
    destination: DestinationOption = Warehouse.DUCKDB,
    only: Annotated[
        Part | None, typer.Option("--only", help="One part, for a scheduler that starts each.")
    ] = None,
    wait: WaitOption = 0,
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", help="How to tell on stderr how it goes on.")
    ] = LogFormat.TEXT,
    as_json: JsonOption = False,
) -> None:
    """What cron starts: sync; push, if that is enabled; alerts, if a person is needed."""
    log = Log() if log_format is LogFormat.JSON else None
    with ending(as_json, log), stoppable():
        with render_runs.watcher() if log is None else nullcontext(log.watcher()) as watcher:
            ran = run_all(destination, only, wait, watcher)
        if log is not None:
            log.end(ran.exit_code, needs=ran.needs, **_figures(ran))
        known = labels(place(destination), ran.pushed.changes) if ran.pushed else Labels()
        if as_json:
            render_runs.print_json(
                {
                    "exit_code": ran.exit_code,
                    "sync": render_runs.synced_json(ran.synced) if ran.synced else None,
                    "push": render_changes.pushed_json(ran.pushed, known) if ran.pushed else None,
                }
            )
        elif log is None:
            _show_ran(ran, known)
        raise typer.Exit(ran.exit_code)


def _figures(ran: Ran) -> dict[str, object]:
    """What a run did, in numbers."""
    figures: dict[str, object] = {}
    if ran.synced:
        names = ("mode", "why", "requests", "rows_read", "added", "changed", "deleted", "restored")
        figures |= {name: getattr(ran.synced.run, name) for name in names}
    if ran.pushed:
        figures["pushed"] = Counter(change.status.value for change in ran.pushed.changes)
    if ran.stopped is not None:
        figures["error"] = str(ran.stopped)
    return figures


def _show_ran(ran: Ran, known: Labels) -> None:
    if ran.synced:
        render_runs.synced(ran.synced)
    if ran.pushed:
        render_changes.pushed(ran.pushed, known)
    if ran.stopped is not None:
        render_runs.plain(without_secrets(f"milestones: {ran.stopped}"))


@app.command()
def check(
    destination: DestinationOption = Warehouse.DUCKDB,
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask the account how it behaves; by GET only.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask everything a run depends on: one line each, with the way out."""
    with ending(as_json), stoppable():
        answers = []
        for answer in run_check(kantata_settings(), place(destination), probe):
            answers.append(answer)
            if not as_json:
                mark = "[red]✗[/]" if answer.exit_code else "[green]✓[/]"
                line = f"{mark} {escape(answer.question)}: {escape(answer.answer)}"
                render_runs.out.print(line, soft_wrap=True)
        if as_json:
            render_runs.print_json([vars(answer) for answer in answers])
        raise typer.Exit(next((a.exit_code for a in answers if a.exit_code), 0))


@app.command()
def status(
    destination: DestinationOption = Warehouse.DUCKDB,
    fail_if_older_than: Annotated[
        str | None,
        typer.Option(metavar="AGE", help="End with 1 if no run was proven within it, as 6h."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how fresh the warehouse is, its last runs, and what is due when."""
    with ending(as_json):
        most = duration(fail_if_older_than or "999999d", "--fail-if-older-than")
        found = read_status(place(destination))
        if as_json:
            render_runs.print_json(status_json(found))
        else:
            print_status(found)
        if fail_if_older_than and not found.is_fresh(most, utc_now()):
            if not as_json:
                render_runs.plain(f"milestones: no run was proven within {fail_if_older_than}")
            raise typer.Exit(1)


@app.command()
def models(destination: DestinationOption = Warehouse.DUCKDB, as_json: JsonOption = False) -> None:
    """Build the marts anew from what the last proven run left; `sync` does it by itself."""
    with ending(as_json), stoppable():
        warnings = rebuild(place(destination))
        code = NEEDS_A_PERSON if warnings else 0
        if as_json:
            render_runs.print_json({"warnings": warnings, "exit_code": code})
        else:
            render_runs.models(warnings)
        raise typer.Exit(code)


@app.command()
def checks(destination: DestinationOption = Warehouse.DUCKDB, as_json: JsonOption = False) -> None:
    """Check the marts: what is wrong is shown, with its first rows."""
    with ending(as_json), stoppable():
        findings = find(place(destination))
        if as_json:
            render_runs.print_json([vars(finding) for finding in findings])
        else:
            render_runs.findings(findings)
        raise typer.Exit(exit_code(findings))


@app.command("move")
def move_command(as_json: JsonOption = False) -> None:
    """Move the DuckDB warehouse and its ledger to an empty Postgres, versions included."""
    with ending(as_json), stoppable():
        with render_runs.watcher() as watcher:
            source, target = place(Warehouse.DUCKDB), place(Warehouse.POSTGRES)
            moved = move(source, target, watcher.phase, utc_now)
        if as_json:
            render_runs.print_json(vars(moved))
            return
        rows = ", ".join(f"{count:,} {table}" for table, count in moved.rows.items() if count)
        render_runs.plain_out(f"moved: {rows}")
        if moved.changes is not None:
            render_runs.plain_out(
                f"moved {moved.changes:,} changes; the old ledger is {moved.old_ledger}"
            )
        render_runs.plain_out("from now on: milestones run --destination postgres")


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(help="0 for any free one.", min=0, max=65535)] = 0,
    milestones: Annotated[int, typer.Option(help="How many.", min=0, max=1_000_000)] = 1_000,
    seed: Annotated[int, typer.Option(help="Chooses the account.")] = 1,
    latency: Annotated[float, typer.Option(help="Milliseconds added to each answer.", min=0)] = 0,
    token: Annotated[str, typer.Option(help="The token that is let in.")] = "sandbox-token",  # noqa: S107 - it opens nothing
) -> None:
    """Run a local server that behaves as Kantata does, until Ctrl-C."""

    def ready(url: str) -> None:
        print(f"A sandbox of {milestones:,} milestones listens. In another terminal:\n")
        print(f"export KANTATA_API_URL={url}")
        print(f"export KANTATA_ACCESS_TOKEN={token}", flush=True)

    with ending(as_json=False):
        try:
            serve(port, milestones, seed, latency, token, ready)
        except OSError as error:
            raise KantataError(f"cannot listen on port {port}: {error.strerror}") from None


@app.command()
def demo() -> None:
    """Sync a sandbox, change it, sync it again, and show what changed. Needs no token."""
    with ending(as_json=False), stoppable():
        run_demo()


def main() -> None:
    """Run the command line."""
    app()
