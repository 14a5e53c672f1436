"""What must hold of a user's mart before its new rows count: columns, grain, checks."""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass

from warehouse.models.findings import Finding
from warehouse.models.sql_files import Severity

from .errors import UserMartFailed, UserSqlFailed, too_many_rows
from .files import UserFile
from .limits import Limits
from .plan import PlannedMart
from .registry import identifier, table_name


@dataclass(frozen=True)
class Wrong:
    """The wrong rows that a user's check found.

    Args:
        count: Their number.
        rows: The first of them, as text, by column.
    """

    count: int
    rows: tuple[dict[str, str], ...]


RunCheck = Callable[[str | UserFile], Wrong]  # our own SQL, or that of a user


def check_columns(file: UserFile, columns: Collection[str]) -> None:
    """Check that the header of a user's file names columns of its query only.

    Raises:
        UserMartFailed: If it names another one.
    """
    model = file.model
    indexed = [name.strip() for index in model.indexes for name in index.split(",")]
    for name in (*model.columns, *model.grain, *indexed):
        if name not in columns:
            raise UserMartFailed(
                file.problem(
                    f"its comment names the column {name}, which the query does not return",
                    file.line_of(name),
                )
            )


def check_rows(file: UserFile, rows: int, limits: Limits) -> None:
    """Check the number of rows of a user's mart.

    Raises:
        UserMartFailed: If it has too many.
    """
    if rows > limits.rows:
        raise UserMartFailed(file.problem(too_many_rows(limits.rows)))


def run_user_checks(mart: PlannedMart, run: RunCheck) -> tuple[str, ...]:
    """Run the checks of a user's mart that was built: its grain, and those in files.

    Args:
        mart: The mart.
        run: Runs a query, which selects what is wrong.

    Returns:
        The findings of those that warn, a line each.

    Raises:
        UserMartFailed: If one that blocks finds wrong rows, or fails.
    """
    if mart.file.model.grain and (wrong := run(_grain_sql(mart.file))).count:
        keys = ", ".join(mart.file.model.grain)
        raise UserMartFailed(
            mart.file.problem(
                f"{_found('its grain', wrong)}: it has one row for each {keys}",
                mart.file.line_of("grain"),
            )
        )
    lines = []
    for check in mart.checks:
        if line := _finding(check, run):
            if check.model.severity is Severity.BLOCKING:
                raise UserMartFailed(line)
            lines.append(line)
    return tuple(lines)


def _finding(check: UserFile, run: RunCheck) -> str | None:
    """Run a user's check; return what it finds as a line, or None.

    Raises:
        UserMartFailed: If it cannot be run: what it would find is not known.
    """
    try:
        wrong = run(check)
    except UserSqlFailed as error:
        raise UserMartFailed(check.problem(str(error), error.line)) from None
    if not wrong.count:
        return None
    finding = Finding(
        check=check.name,
        severity=check.model.severity,
        about=check.model.about,
        count=wrong.count,
        rows=wrong.rows,
    )
    return check.problem(str(finding))


def _grain_sql(file: UserFile) -> str:
    """Return the query that a user's mart has each row once."""
    keys = ", ".join(map(identifier, file.model.grain))
    return (
        f"select {keys}, count(*) as copies from {table_name(file.name)} "
        f"group by {keys} having count(*) > 1"
    )


def _found(what: str, wrong: Wrong) -> str:
    """Return what a user's check found, in words."""
    first = ", ".join(f"{name} {value}" for name, value in wrong.rows[0].items())
    return f"{what} finds {wrong.count} wrong {'row' if wrong.count == 1 else 'rows'} ({first})"
