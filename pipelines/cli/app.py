"""The commands of `milestones`, with their options and help.

What a command does is imported when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Annotated, Any

import typer

from pipelines.ops.ledger_source import LedgerSource
from pipelines.ops.parts import Part

from . import changes, close, console, export
from .help import GroupedCommands
from .options import DestinationOption, Grouping, JsonOption, LogFormat, ReasonOption, WaitOption

app = typer.Typer(
    cls=GroupedCommands,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Sync the billing milestones of Kantata OX into DuckDB or Postgres, exact to the cent, "
    "and write approved changes back.",
)


def _print_version(is_given: bool) -> None:
    """Print the version of the app `milestones` and exit, if `--version` is given."""
    if is_given:
        from importlib.metadata import version

        print(f"milestones {version('milestones')}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _root(
    context: typer.Context,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Print the help of the app `milestones` if no command is given."""
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


@app.command()
def sync(
    destination: DestinationOption = None,
    full: Annotated[
        bool, typer.Option("--full", help="Do a full scan, even if none is due.")
    ] = False,
    allow_deletes: Annotated[
        bool,
        typer.Option(
            "--allow-deletes",
            help="Mark all missing milestones as deleted, even if there are many. With PROJECT: "
            "mark the milestones of these deleted projects instead.",
        ),
    ] = False,
    accept_minor_unit: Annotated[
        list[str] | None,
        typer.Option(
            "--accept-minor-unit",
            metavar="CURRENCY",
            help="Accept that Kantata changed the minor unit of a currency, such as EUR. The new "
            "unit applies to amounts read from now on. Repeat the option for each currency.",
        ),
    ] = None,
    projects: Annotated[
        list[str] | None,
        typer.Argument(metavar="PROJECT", help="Ids of deleted projects, for --allow-deletes."),
    ] = None,
    wait: WaitOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Copy new and changed milestones, or all, and publish the validated warehouse."""
    from pipelines.sync.options import SyncOptions

    from . import sync

    if projects and not allow_deletes:
        raise typer.BadParameter(f"{projects[0]}: a project needs --allow-deletes")
    options = SyncOptions(
        full=full,
        allow_deletes=allow_deletes and not projects,
        deleted_projects=frozenset(projects or ()),
        accepted_minor_units=frozenset(map(str.upper, accept_minor_unit or ())),
    )
    sync.sync(destination, options, wait, as_json)


@app.command()
def run(
    destination: DestinationOption = None,
    only: Annotated[Part | None, typer.Option("--only", help="Run only this part.")] = None,
    wait: WaitOption = 0,
    log_format: Annotated[
        LogFormat, typer.Option("--log-format", help="The format of the log on stderr.")
    ] = LogFormat.TEXT,
    as_json: JsonOption = False,
) -> None:
    """Run the scheduled job: sync, push if it is enabled, and alerts. For cron and Airflow."""
    from . import run

    run.run(destination, part=only, wait=wait, log_format=log_format, as_json=as_json)


@app.command()
def check(
    destination: DestinationOption = None,
    probe: Annotated[
        bool,
        typer.Option(
            "--probe", help="Also test how the account's API behaves, with GET requests only."
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check the settings, the account and the warehouse, and say how to fix each problem."""
    from . import check

    check.check(destination, probe=probe, as_json=as_json)


@app.command()
def config(as_json: JsonOption = False) -> None:
    """Show all settings in effect, and where each comes from. Secrets are masked."""
    from . import config

    config.config(as_json)


@app.command()
def status(
    destination: DestinationOption = None,
    fail_if_older_than: Annotated[
        str | None,
        typer.Option(
            metavar="AGE",
            help="Exit with 1 if the last validated run is older than AGE, such as 6h.",
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show how current the warehouse is, its last runs, and the amounts by month."""
    from . import status

    status.status(destination, fail_if_older_than=fail_if_older_than, as_json=as_json)


@app.command()
def report(
    file: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="The HTML file to write; by default milestones-report.html.",
            show_default=False,
        ),
    ] = None,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write the figures as one HTML page with charts, for people without a terminal."""
    from . import report

    report.write(destination, file, as_json)


@app.command()
def due(
    until: Annotated[
        str | None,
        typer.Option(
            "--until",
            metavar="DATE",
            help="Include milestones dated up to this day, such as 2027-01-31; by default today.",
            show_default=False,
        ),
    ] = None,
    by: Annotated[
        Grouping | None,
        typer.Option("--by", help="`--by project` shows one line for each project."),
    ] = None,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """List the milestones to invoice, by currency and project, largest overdue amount first."""
    from . import due

    due.due(destination, until=until, by=by, as_json=as_json)


@app.command()
def models(destination: DestinationOption = None, as_json: JsonOption = False) -> None:
    """Rebuild the marts from the last validated run, as `sync` does after changes and each day."""
    from . import marts

    marts.models(destination, as_json)


@app.command()
def checks(destination: DestinationOption = None, as_json: JsonOption = False) -> None:
    """Run the checks of the marts, and show the first rows that fail."""
    from . import marts

    marts.checks(destination, as_json)


app.command()(export.export)
for _command in (close.close, close.reopen):
    app.command()(_command)


@app.command()
def rebind(
    reason: ReasonOption,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Bind the warehouse and its ledger to the connected account, if the account's id changed."""
    from . import rebind

    rebind.rebind(destination, reason=reason, as_json=as_json)


@app.command()
def restore(
    reason: ReasonOption,
    source: Annotated[
        str | None,
        typer.Option(
            "--from",
            metavar="published|loader|FILE",
            help="The copy of the DuckDB warehouse to use.",
        ),
    ] = None,
    ledger: Annotated[
        LedgerSource | None,
        typer.Option(
            "--ledger-from",
            help="warehouse: restore the ledger from its copy in the warehouse. ledger: keep the "
            "ledger as it is.",
        ),
    ] = None,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Restore the DuckDB warehouse or the ledger from a copy, such as a backup."""
    from . import restore

    restore.restore(source, ledger=ledger, destination=destination, reason=reason, as_json=as_json)


@app.command()
def move(as_json: JsonOption = False) -> None:
    """Move the DuckDB warehouse, with all versions, and its ledger to an empty Postgres."""
    from . import move

    move.move(as_json)


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(help="The port; 0 for any free port.", min=0, max=65535)] = 0,
    milestones: Annotated[
        int, typer.Option(help="The number of milestones.", min=0, max=1_000_000)
    ] = 1_000,
    seed: Annotated[int, typer.Option(help="The seed of the generated account.")] = 1,
    latency: Annotated[float, typer.Option(help="Milliseconds to delay each response.", min=0)] = 0,
    token: Annotated[str, typer.Option(help="The token that is accepted.")] = "sandbox-token",  # noqa: S107 - not a secret
) -> None:
    """Run a local server that behaves like the API of Kantata, until Ctrl-C."""
    from . import sandbox

    sandbox.sandbox(port=port, milestones=milestones, seed=seed, latency=latency, token=token)


@app.command()
def demo(
    console: Annotated[
        bool,
        typer.Option(
            "--console", help="At the end, run the console on the demo's data until Ctrl-C."
        ),
    ] = False,
) -> None:
    """Sync a sandbox, change it, sync it again, and show what changed. No token is needed."""
    from .demo import demo

    demo(console)


changes.add_commands(app)
app.add_typer(console.console, name="console")


@cache
def command() -> Any:  # noqa: ANN401 - typer's own
    """Return the app as a command that can be called: built once, since that takes a while."""
    return typer.main.get_command(app)
