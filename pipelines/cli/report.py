"""The command that writes the report."""

from __future__ import annotations

from pathlib import Path

from pipelines.config.targets import configured_target
from pipelines.ops.report import DEFAULT_FILE, write_report

from .errors import handle_errors
from .options import Warehouse
from .output import print_json, print_out


def write(destination: Warehouse | None, file: Path | None, as_json: bool) -> None:
    """Implement the command `report`: write the file, and print its name and how current it is."""
    with handle_errors(as_json):
        path = file or DEFAULT_FILE
        figures = write_report(configured_target(destination), path)
        read_up_to = figures.freshness.read_up_to
        if as_json:
            print_json({"file": str(path), "read_up_to": read_up_to.isoformat()})
        else:
            print_out(f"wrote {path}: the figures up to {read_up_to:%Y-%m-%d %H:%M} UTC")
