"""The command that exports the marts to Excel or CSV."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from warehouse.words import counted

from .errors import handle_errors
from .options import DestinationOption, JsonOption
from .output import print_json, print_out


def export(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", help="The file: .xlsx for Excel, or .csv.")
    ],
    mart: Annotated[
        str | None, typer.Option("--mart", metavar="NAME", help="The mart, for a CSV file.")
    ] = None,
    destination: DestinationOption = None,
    as_json: JsonOption = False,
) -> None:
    """Export the marts to Excel, with a sheet to change milestones in, or one mart to CSV."""
    from pipelines.runtime.signals import stop_on_signals

    with handle_errors(as_json), stop_on_signals():
        from pipelines.config.targets import configured_target
        from pipelines.ops.export import export as export_marts

        result = export_marts(configured_target(destination), file, mart)
        if as_json:
            print_json(vars(result))
            return
        for name, rows in result.rows.items():
            print_out(f"{name}: {counted(rows, 'row')}")
        if result.shortened:
            print_out(
                f"{counted(result.shortened, 'text')} too long for a cell: cut in the marts; their "
                "milestones are not in the sheet Changes"
            )
        print_out(f"wrote {result.file}")
