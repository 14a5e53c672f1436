"""Check the files of users' own marts before a run."""

from __future__ import annotations

from pathlib import Path

from pipelines.runtime.exit_codes import ExitCode
from warehouse.errors import WarehouseError
from warehouse.user_marts import file_problems
from warehouse.words import counted

from .check_result import CheckResult

_QUESTION = "marts of users"


def check_user_marts(folder: Path) -> CheckResult:
    """Check that the folder of users' own marts can be read, and that its files are well formed.

    Their SQL is not run.
    """
    try:
        count, problems = file_problems(folder)
    except WarehouseError as error:
        return CheckResult(_QUESTION, str(error), error.exit_code)
    if problems:
        return CheckResult(_QUESTION, "; ".join(problems), ExitCode.ACTION_REQUIRED)
    return CheckResult(_QUESTION, f"{folder} has {counted(count, 'file')} to build")
