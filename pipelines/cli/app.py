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

from pipelines.config.secrets import mask_secrets
from pipelines.config.settings import duration, kantata_settings
from pipelines.config.targets import configured_target
from pipelines.ops.job import JobResult
from pipelines.ops.job import run_job as run_all
from pipelines.ops.json_log import JsonLog
from pipelines.ops.marts import check_marts, findings_exit_code, rebuild_marts
from pipelines.ops.migrate import migrate
from pipelines.ops.parts import Part
from pipelines.ops.preflight import preflight as run_check
from pipelines.ops.status import read_status as read_status
from pipelines.runtime.clock import utc_now
from pipelines.runtime.exit_codes import ExitCode
from pipelines.runtime.signals import stop_on_signals
from pipelines.sync.options import SyncOptions
from pipelines.sync.pipeline import sync as run_sync
from pipelines.sync.session import locked
from sources.kantata.errors import KantataError
from sources.kantata_sandbox import serve

from . import changes, render_changes, render_runs
from .demo import demo as run_demo
from .errors import handle_errors
from .labels import Labels, labels
from .options import DestinationOption, JsonOption, LogFormat, WaitOption, Warehouse
from .output import out, print_err, print_json, print_out
from .progress import console_observer
from .render_status import print_status, status_json

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Billing milestones of Kantata OX in DuckDB or Postgres, proven to the cent.",
)
changes.add_commands(app)


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
    with handle_errors(as_json), stop_on_signals():
        if projects and not allow_deletes:
            raise typer.BadParameter(f"{projects[0]}: a project is only for --allow-deletes")
        options = SyncOptions(
            full=full,
            allow_deletes=allow_deletes and not projects,
            deleted_projects=frozenset(projects or ()),
        )
        warehouse = configured_target(destination)
        settings = kantata_settings()
        with (
            console_observer() as observer,
            locked(warehouse, wait, observer.note) as lock,
        ):
            result = run_sync(settings, lock, options, observer)
        if as_json:
            print_json(render_runs.sync_json(result))
        else:
            render_runs.render_sync(result)
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
    log = JsonLog() if log_format is LogFormat.JSON else None
    with handle_errors(as_json, log), stop_on_signals():
        with console_observer() if log is None else nullcontext(log.observer()) as observer:
            ran = run_all(destination, part=only, wait=wait, observer=observer)
        if log is not None:
            log.end(ran.exit_code, needs=ran.needs, **_job_figures(ran))
        known = (
            labels(configured_target(destination), ran.pushed.changes) if ran.pushed else Labels()
        )
        if as_json:
            print_json(
                {
                    "exit_code": ran.exit_code,
                    "sync": render_runs.sync_json(ran.synced) if ran.synced else None,
                    "push": render_changes.push_json(ran.pushed, known) if ran.pushed else None,
                }
            )
        elif log is None:
            _render_job(ran, known)
        raise typer.Exit(ran.exit_code)


def _job_figures(ran: JobResult) -> dict[str, object]:
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


def _render_job(ran: JobResult, known: Labels) -> None:
    if ran.synced:
        render_runs.render_sync(ran.synced)
    if ran.pushed:
        render_changes.render_push(ran.pushed, known)
    if ran.stopped is not None:
        print_err(mask_secrets(f"milestones: {ran.stopped}"))


@app.command()
def check(
    destination: DestinationOption = Warehouse.DUCKDB,
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask the account how it behaves; by GET only.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask everything a run depends on: one line each, with the way out."""
    with handle_errors(as_json), stop_on_signals():
        answers = []
        for answer in run_check(kantata_settings(), configured_target(destination), probe):
            answers.append(answer)
            if not as_json:
                mark = "[red]✗[/]" if answer.exit_code else "[green]✓[/]"
                line = f"{mark} {escape(answer.question)}: {escape(answer.answer)}"
                out.print(line, soft_wrap=True)
        if as_json:
            print_json([vars(answer) for answer in answers])
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
    with handle_errors(as_json):
        most = duration(fail_if_older_than or "999999d", "--fail-if-older-than")
        found = read_status(configured_target(destination))
        if as_json:
            print_json(status_json(found))
        else:
            print_status(found)
        if fail_if_older_than and not found.is_fresh(most, utc_now()):
            if not as_json:
                print_err(f"milestones: no run was proven within {fail_if_older_than}")
            raise typer.Exit(1)


@app.command()
def models(destination: DestinationOption = Warehouse.DUCKDB, as_json: JsonOption = False) -> None:
    """Build the marts anew from what the last proven run left; `sync` does it by itself."""
    with handle_errors(as_json), stop_on_signals():
        warnings = rebuild_marts(configured_target(destination))
        code = ExitCode.ACTION_REQUIRED if warnings else ExitCode.DONE
        if as_json:
            print_json({"warnings": warnings, "exit_code": code})
        else:
            render_runs.render_marts(warnings)
        raise typer.Exit(code)


@app.command()
def checks(destination: DestinationOption = Warehouse.DUCKDB, as_json: JsonOption = False) -> None:
    """Check the marts: what is wrong is shown, with its first rows."""
    with handle_errors(as_json), stop_on_signals():
        findings = check_marts(configured_target(destination))
        if as_json:
            print_json([vars(finding) for finding in findings])
        else:
            render_runs.render_findings(findings)
        raise typer.Exit(findings_exit_code(findings))


@app.command("move")
def move_command(as_json: JsonOption = False) -> None:
    """Move the DuckDB warehouse and its ledger to an empty Postgres, versions included."""
    with handle_errors(as_json), stop_on_signals():
        with console_observer() as observer:
            source, target = (
                configured_target(Warehouse.DUCKDB),
                configured_target(Warehouse.POSTGRES),
            )
            moved = migrate(source, target, observer.phase, utc_now)
        if as_json:
            print_json(vars(moved))
            return
        rows = ", ".join(f"{count:,} {table}" for table, count in moved.rows.items() if count)
        print_out(f"moved: {rows}")
        if moved.changes is not None:
            print_out(f"moved {moved.changes:,} changes; the old ledger is {moved.old_ledger}")
        print_out("from now on: milestones run --destination postgres")


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

    with handle_errors(as_json=False):
        try:
            serve(port, milestones, seed, latency, token, ready)
        except OSError as error:
            raise KantataError(f"cannot listen on port {port}: {error.strerror}") from None


@app.command()
def demo() -> None:
    """Sync a sandbox, change it, sync it again, and show what changed. Needs no token."""
    with handle_errors(as_json=False), stop_on_signals():
        run_demo()


def main() -> None:
    """Run the command line."""
    app()
