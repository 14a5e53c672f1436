"""The implementations of the commands in ``app``."""

from __future__ import annotations

from collections import Counter
from contextlib import nullcontext

import typer

from pipelines.config.secrets import mask_secrets
from pipelines.config.settings import kantata_settings, parse_duration
from pipelines.config.targets import configured_target
from pipelines.ops import marts, preflight
from pipelines.ops import rebind as rebinding
from pipelines.ops import restore as restoring
from pipelines.ops.check_result import CheckResult
from pipelines.ops.job import JobResult, run_job
from pipelines.ops.json_log import JsonLog
from pipelines.ops.ledger_source import LedgerSource
from pipelines.ops.migrate import MigrationResult, migrate
from pipelines.ops.parts import Part
from pipelines.ops.report import write_configured_report
from pipelines.ops.restore_ledger import LedgerRestoration, restore_ledger
from pipelines.ops.settings_in_effect import settings_in_effect
from pipelines.ops.status import read_status
from pipelines.runtime.clock import utc_now
from pipelines.runtime.exit_codes import ExitCode
from pipelines.runtime.signals import stop_on_signals
from pipelines.sync import pipeline
from pipelines.sync.options import SyncOptions
from pipelines.sync.session import locked
from sources.kantata.errors import KantataError
from sources.kantata_sandbox import serve
from warehouse import locks
from warehouse.errors import WarehouseMisconfigured
from warehouse.target import Target
from warehouse.words import counted

from . import render_changes, render_runs, render_status
from .errors import handle_errors
from .labels import Labels, labels
from .options import LogFormat, Warehouse
from .output import out, print_err, print_json, print_out, safe_markup
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


def check(destination: Warehouse | None, *, probe: bool, as_json: bool) -> None:
    """Implement the command `check`: check the settings, the account and the warehouse."""
    with handle_errors(as_json), stop_on_signals():
        results = []
        target = configured_target(destination)
        for result in preflight.preflight(kantata_settings(), target, probe):
            results.append(result)
            if not as_json:
                _render_check(result)
        if as_json:
            print_json([vars(result) for result in results])
        failed = (result.exit_code for result in results if result.exit_code)
        raise typer.Exit(next(failed, ExitCode.DONE))


def _render_check(result: CheckResult) -> None:
    """Print one result of the command `check`, with a mark for passed or failed."""
    mark = "[red]✗[/]" if result.exit_code else "[green]✓[/]"
    out.print(
        f"{mark} {safe_markup(result.question)}: {safe_markup(result.answer)}",
        soft_wrap=True,
    )


def status(destination: Warehouse | None, *, fail_if_older_than: str | None, as_json: bool) -> None:
    """Implement the command `status`: print the warehouse's status, and fail if it is too old."""
    with handle_errors(as_json):
        max_age = parse_duration(fail_if_older_than or "999999d", "--fail-if-older-than")
        found = read_status(configured_target(destination))
        if as_json:
            print_json(render_status.status_json(found))
        else:
            render_status.render_status(found)
        if fail_if_older_than and not found.is_fresh(max_age, utc_now()):
            if not as_json:
                print_err(f"milestones: no run was validated within {fail_if_older_than}")
            raise typer.Exit(ExitCode.FAILED)


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


def config(as_json: bool) -> None:
    """Implement the command `config`: print all settings in effect."""
    with handle_errors(as_json):
        settings = settings_in_effect()
        if as_json:
            print_json([vars(setting) for setting in settings])
            return
        width = max(len(setting.name) for setting in settings)
        for setting in settings:
            shown = f"{setting.value}  ({setting.origin})" if setting.value else "not set"
            print_out(f"{setting.name:{width}}  {shown}")


def rebind(destination: Warehouse | None, *, reason: str, as_json: bool) -> None:
    """Implement the command `rebind`: bind the warehouse and its ledger to the account."""
    with handle_errors(as_json), stop_on_signals():
        target, settings = configured_target(destination), kantata_settings()
        rebound = rebinding.rebind(settings, target, reason, utc_now)
        if as_json:
            print_json({name: account and vars(account) for name, account in vars(rebound).items()})
            return
        print_out(f"the warehouse is now bound to {rebound.account}")
        for what, before in (
            ("warehouse", rebound.warehouse_before),
            ("ledger", rebound.ledger_before),
        ):
            if before not in (None, rebound.account):
                print_out(f"before, the {what} was bound to {before}")


def restore(
    source: str | None,
    *,
    ledger: LedgerSource | None,
    destination: Warehouse | None,
    reason: str,
    as_json: bool,
) -> None:
    """Implement the command `restore`: use a copy of the warehouse or of the ledger."""
    with handle_errors(as_json), stop_on_signals():
        target = configured_target(destination)
        if (source is None) == (ledger is None):
            raise WarehouseMisconfigured("give either --from or --ledger-from")
        if ledger is not None:
            restored_ledger = restore_ledger(target, ledger, reason, utc_now)
            _print_restored_ledger(restored_ledger, as_json)
            return
        restored = restoring.restore(target, str(source), reason, utc_now)
        if as_json:
            print_json(vars(restored))
            return
        print_out(f"restored from {restored.source}: its last run is {restored.last_run_id}")
        if restored.replaced_run_id not in (None, restored.last_run_id):
            print_out(f"before, the last published run was {restored.replaced_run_id}")


def _print_restored_ledger(restored: LedgerRestoration, as_json: bool) -> None:
    """Print what the command `restore` did with the ledger, as text or as JSON."""
    if as_json:
        print_json(vars(restored))
        return
    print_out(
        f"the ledger has {counted(restored.changes, 'change')}, "
        f"{counted(restored.events, 'event')} and {counted(restored.closes, 'close')} of months; "
        "the changes that may have been sent are unknown, and the "
        "next push looks for them first"
    )
    if restored.set_aside:
        print_out(
            f"the old file is {restored.set_aside}; what was proposed or decided after the last "
            "push is only there"
        )


def move(as_json: bool) -> None:
    """Implement the command `move`: move the DuckDB warehouse and its ledger to Postgres."""
    with handle_errors(as_json), stop_on_signals():
        source = configured_target(Warehouse.DUCKDB, moved_too=True)
        target = configured_target(Warehouse.POSTGRES)
        with console_observer() as observer:
            moved = migrate(source, target, observer.phase, utc_now)
        if as_json:
            print_json(vars(moved))
        else:
            _render_migration(moved)


def _render_migration(moved: MigrationResult) -> None:
    """Print what the command `move` moved, and how to run from now on."""
    rows = ", ".join(f"{count:,} {table}" for table, count in moved.rows.items() if count)
    print_out(f"moved: {rows}")
    if moved.changes is not None:
        print_out(
            f"moved {counted(moved.changes, 'change')}; the old ledger is now {moved.old_ledger}"
        )
    print_out("from now on: set WAREHOUSE__DESTINATION=postgres")


def sandbox(*, port: int, milestones: int, seed: int, latency: float, token: str) -> None:
    """Implement the command `sandbox`: serve a sandbox until a signal comes."""

    def ready(url: str) -> None:
        print(f"A sandbox of {counted(milestones, 'milestone')} is running. In another terminal:\n")
        print(f"export KANTATA_API_URL={url}")
        print(f"export KANTATA_ACCESS_TOKEN={token}", flush=True)

    with handle_errors(as_json=False, checks_settings=False):
        try:
            serve(port, milestones, seed, latency, token, ready)
        except OSError as error:
            raise KantataError(f"cannot listen on port {port}: {error.strerror}") from None
