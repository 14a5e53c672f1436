"""Check the files of users' own marts before a run."""

from __future__ import annotations

from pipelines.runtime.exit_codes import ExitCode
from warehouse.database import connect
from warehouse.errors import WarehouseError
from warehouse.target import Target
from warehouse.user_marts import file_problems, schema_problems
from warehouse.words import counted

from .check_result import CheckResult

_QUESTION = "marts of users"


def check_user_marts(target: Target) -> CheckResult:
    """Check that the folder of users' own marts can be read, and that its files are well formed.

    Their SQL is not run.

    Args:
        target: A warehouse for which the folder is configured.
    """
    assert target.models  # noqa: S101 - it is configured
    try:
        count, problems = file_problems(target.models)
        if target.loader is None:
            with connect(target.destination) as database:
                problems += schema_problems(database)
    except WarehouseError as error:
        return CheckResult(_QUESTION, str(error), error.exit_code)
    if problems:
        return CheckResult(_QUESTION, "; ".join(problems), ExitCode.ACTION_REQUIRED)
    return CheckResult(_QUESTION, f"{target.models} has {counted(count, 'file')} to build")
