"""The commands that rebuild the marts and run their checks."""

from __future__ import annotations

import typer

from pipelines.config.targets import configured_target
from pipelines.ops import marts
from pipelines.runtime.exit_codes import ExitCode
from pipelines.runtime.signals import stop_on_signals

from . import render_runs
from .errors import handle_errors
from .options import Warehouse
from .output import print_err, print_json


def models(destination: Warehouse | None, as_json: bool) -> None:
    """Implement the command `models`: rebuild the marts, and print the warnings."""
    with handle_errors(as_json), stop_on_signals():
        warnings = marts.rebuild_marts(configured_target(destination), print_err)
        code = ExitCode.ACTION_REQUIRED if warnings else ExitCode.DONE
        if as_json:
            print_json({"warnings": warnings, "exit_code": code})
        else:
            render_runs.render_marts(warnings)
        raise typer.Exit(code)


def checks(destination: Warehouse | None, as_json: bool) -> None:
    """Implement the command `checks`: check the marts, and print the findings."""
    with handle_errors(as_json), stop_on_signals():
        findings = marts.check_marts(configured_target(destination))
        if as_json:
            print_json([vars(finding) for finding in findings])
        else:
            render_runs.render_findings(findings)
        raise typer.Exit(marts.findings_exit_code(findings))
