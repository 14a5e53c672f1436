"""The commands of `milestones`, with their options and help.

What a command does is imported when it runs, so that `--help` answers at once.
"""

from __future__ import annotations

from typing import Annotated

import typer

from pipelines.ops.parts import Part

from . import changes
from .help import GroupedCommands
from .options import DestinationOption, JsonOption, LogFormat, WaitOption, Warehouse
from .output import replace_unencodable

app = typer.Typer(
    cls=GroupedCommands,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="Billing milestones of Kantata OX in DuckDB or Postgres, proven to the cent.",
)


def _print_version(is_given: bool) -> None:
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
    if context.invoked_subcommand is None:
        typer.echo(context.get_help())


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
    from pipelines.sync.options import SyncOptions

    from . import commands

    if projects and not allow_deletes:
        raise typer.BadParameter(f"{projects[0]}: a project is only for --allow-deletes")
    options = SyncOptions(
        full=full,
        allow_deletes=allow_deletes and not projects,
        deleted_projects=frozenset(projects or ()),
    )
    commands.sync(destination, options, wait, as_json)


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
    from . import commands

    commands.run(destination, part=only, wait=wait, log_format=log_format, as_json=as_json)


@app.command()
def check(
    destination: DestinationOption = Warehouse.DUCKDB,
    probe: Annotated[
        bool, typer.Option("--probe", help="Ask the account how it behaves; by GET only.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Ask everything a run depends on: one line each, with the way out."""
    from . import commands

    commands.check(destination, probe=probe, as_json=as_json)


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
    from . import commands

    commands.status(destination, fail_if_older_than=fail_if_older_than, as_json=as_json)


@app.command()
def models(destination: DestinationOption = Warehouse.DUCKDB, as_json: JsonOption = False) -> None:
    """Build the marts anew from what the last proven run left; `sync` does it by itself."""
    from . import commands

    commands.models(destination, as_json)


@app.command()
def checks(destination: DestinationOption = Warehouse.DUCKDB, as_json: JsonOption = False) -> None:
    """Check the marts: what is wrong is shown, with its first rows."""
    from . import commands

    commands.checks(destination, as_json)


@app.command()
def move(as_json: JsonOption = False) -> None:
    """Move the DuckDB warehouse and its ledger to an empty Postgres, versions included."""
    from . import commands

    commands.move(as_json)


@app.command()
def sandbox(
    port: Annotated[int, typer.Option(help="0 for any free one.", min=0, max=65535)] = 0,
    milestones: Annotated[int, typer.Option(help="How many.", min=0, max=1_000_000)] = 1_000,
    seed: Annotated[int, typer.Option(help="Chooses the account.")] = 1,
    latency: Annotated[float, typer.Option(help="Milliseconds added to each answer.", min=0)] = 0,
    token: Annotated[str, typer.Option(help="The token that is let in.")] = "sandbox-token",  # noqa: S107 - it opens nothing
) -> None:
    """Run a local server that behaves as Kantata does, until Ctrl-C."""
    from . import commands

    commands.sandbox(port=port, milestones=milestones, seed=seed, latency=latency, token=token)


@app.command()
def demo() -> None:
    """Sync a sandbox, change it, sync it again, and show what changed. Needs no token."""
    from .demo import demo

    demo()


changes.add_commands(app)


def main() -> None:
    """Run the command line."""
    replace_unencodable()
    app()
