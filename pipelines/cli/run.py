"""The command that runs the scheduled job."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext

import typer

from pipelines.config.secrets import mask_secrets
from pipelines.config.targets import configured_target
from pipelines.ops.job import run_job
from pipelines.ops.job_result import JobResult
from pipelines.ops.json_log import JsonLog
from pipelines.ops.parts import Part
from pipelines.runtime.signals import stop_on_signals
from warehouse.target import Target

from . import render_changes, render_runs
from .errors import handle_errors
from .labels import Labels, labels
from .options import LogFormat, Warehouse
from .output import print_err, print_json
from .progress import console_observer


def run(
    destination: Warehouse | None,
    *,
    part: Part | None,
    wait: float,
    log_format: LogFormat,
    as_json: bool,
) -> None:
    """Implement the command `run`: run the scheduled job once, and print or log the result."""
    log = JsonLog() if log_format is LogFormat.JSON else None
    with handle_errors(as_json, log, checks_settings=False), stop_on_signals():
        with console_observer() if log is None else nullcontext(log.observer()) as observer:
            result = run_job(destination, part=part, wait=wait, observer=observer)
        if log is not None:
            log.end(result.exit_code, needs=result.needs, **_job_figures(result))
        known = _labels(configured_target(destination), result)
        if as_json:
            print_json(_job_json(result, known))
        elif log is None:
            _render_job(result, known)
        raise typer.Exit(result.exit_code)


def _labels(target: Target, result: JobResult) -> Labels:
    """Return the labels of the changes that the command `run` pushed; empty ones without a push."""
    return labels(target, result.pushed.changes) if result.pushed else Labels()


def _job_figures(result: JobResult) -> dict[str, object]:
    """Return the figures of the command `run` for the log's last line."""
    figures: dict[str, object] = {}
    if result.synced:
        names = ("mode", "why", "requests", "rows_read", "added", "changed", "deleted", "restored")
        figures |= {name: getattr(result.synced.run, name) for name in names}
    if result.pushed:
        figures["pushed"] = Counter(change.status.value for change in result.pushed.changes)
    if result.stopped is not None:
        figures["error"] = str(result.stopped)
    return figures


def _job_json(result: JobResult, known: Labels) -> dict[str, object]:
    """Return the result of the command `run` as JSON: the exit code, the sync and the push."""
    synced, pushed = result.synced, result.pushed
    return {
        "exit_code": result.exit_code,
        "sync": render_runs.sync_json(synced) if synced else None,
        "push": render_changes.push_json(pushed, known) if pushed else None,
        "report_problem": result.report_problem,
    }


def _render_job(result: JobResult, known: Labels) -> None:
    """Print the result of the command `run`: the sync, the push, and what stopped it."""
    if result.synced:
        render_runs.render_sync(result.synced)
    if result.pushed:
        render_changes.render_push(result.pushed, known)
    render_runs.render_need(result.report_problem)
    if result.stopped is not None:
        print_err(mask_secrets(f"milestones: {result.stopped}"))
