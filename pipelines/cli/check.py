"""The command that checks the settings, the account and the warehouse."""

from __future__ import annotations

import typer

from pipelines.config.settings import kantata_settings
from pipelines.config.targets import configured_target
from pipelines.ops import preflight
from pipelines.ops.check_result import CheckResult
from pipelines.runtime.exit_codes import ExitCode
from pipelines.runtime.signals import stop_on_signals

from .errors import handle_errors
from .options import Warehouse
from .output import out, print_json, safe_markup


def check(destination: Warehouse | None, *, probe: bool, as_json: bool) -> None:
    """Implement the command `check`: check the settings, the account and the warehouse."""
    with handle_errors(as_json), stop_on_signals():
        results = []
        target = configured_target(destination)
        for result in preflight.preflight(kantata_settings, target, probe):
            results.append(result)
            if not as_json:
                _render_check(result)
        if as_json:
            print_json([vars(result) for result in results])
        failed = [result.exit_code for result in results if result.exit_code]
        # A run would end with the code of what stops it, whatever else requires action.
        stops = [code for code in failed if code != ExitCode.ACTION_REQUIRED]
        raise typer.Exit(min(stops or failed, default=ExitCode.DONE))


def _render_check(result: CheckResult) -> None:
    """Print one result of the command `check`, with a mark for passed or failed."""
    mark = "[red]✗[/]" if result.exit_code else "[green]✓[/]"
    out.print(
        f"{mark} {safe_markup(result.question)}: {safe_markup(result.answer)}",
        soft_wrap=True,
    )
