"""The command that syncs once."""

from __future__ import annotations

import typer

from pipelines.config.settings import kantata_settings
from pipelines.config.targets import configured_target
from pipelines.ops.configured_report import write_configured_report
from pipelines.ops.job_result import JobResult
from pipelines.runtime.signals import stop_on_signals
from pipelines.sync import pipeline
from pipelines.sync.options import SyncOptions
from pipelines.sync.session import locked
from warehouse import locks

from . import render_runs
from .errors import handle_errors
from .options import Warehouse
from .output import print_json
from .progress import console_observer


def sync(destination: Warehouse | None, options: SyncOptions, wait: float, as_json: bool) -> None:
    """Implement the command `sync`: sync once, and print the result."""
    with handle_errors(as_json), stop_on_signals():
        locks.ensure_supported()
        target, settings = configured_target(destination), kantata_settings()
        with (
            console_observer() as observer,
            locked(target, wait, observer.note) as lock,
        ):
            result = pipeline.sync(settings, lock, options, observer)
        job = JobResult(synced=result, report_problem=write_configured_report(target))
        if as_json:
            print_json(
                render_runs.sync_json(result)
                | {"exit_code": job.exit_code, "report_problem": job.report_problem}
            )
        else:
            render_runs.render_sync(result)
            render_runs.render_need(job.report_problem)
        raise typer.Exit(job.exit_code)
