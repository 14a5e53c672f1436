"""The report that each published run writes, if the setting names a file for it."""

from __future__ import annotations

from pathlib import Path

from pipelines.config.settings import setting
from warehouse.errors import WarehouseError
from warehouse.target import Target


def write_configured_report(target: Target) -> str:
    """Write the report to the file in ``[report] path``, if that is set, after a published run.

    Returns:
        Why it could not be written; empty if it was, or none is configured.
    """
    path = report_path()
    if path is None:
        return ""
    from .report import write_report  # here: most runs write none

    try:
        write_report(target, path)
    except WarehouseError as error:
        return f"the report was not written: {error}"
    return ""


def report_path() -> Path | None:
    """Return the file that the setting of the report names; None if it is not set."""
    path = setting("report.path")
    return Path(path).expanduser() if path else None
