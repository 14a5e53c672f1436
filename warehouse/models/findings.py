"""The checks of the marts: what each finds wrong."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from warehouse.database import MARTS, Database

from .sql_files import Model, Severity, checks, grain_check, marts

_ROWS_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a check found wrong.

    Args:
        check: Its name.
        severity: What that means.
        about: What should hold.
        count: How many rows are wrong.
        rows: The first of them, as text, by column.
    """

    check: str
    severity: Severity
    about: str
    count: int
    rows: tuple[dict[str, str], ...]

    def __str__(self) -> str:
        """One line."""
        first = ", ".join(f"{name} {value}" for name, value in self.rows[0].items())
        return f"check {self.check} finds {self.count} wrong ({first}): {self.about}"


def run_checks(database: Database, skip: Collection[str] = ()) -> list[Finding]:
    """Run the checks.

    Args:
        database: A connection to a warehouse whose marts are built.
        skip: The queries of those that need not be run.

    Returns:
        What is wrong; nothing if all holds.
    """
    findings = (_run_check(database, check) for check in checks() if check.sql not in skip)
    return [finding for finding in findings if finding]


def _run_check(database: Database, check: Model) -> Finding | None:
    count = database.rows(f"select count(*) from ({check.sql}) wrong")[0][0]
    if not count:
        return None
    # In an order, since alerts compare what is told of two runs.
    shown = database.records(
        f"select * from ({check.sql}) wrong order by wrong::text limit {_ROWS_SHOWN}"
    )
    return Finding(
        check=check.name,
        severity=check.severity,
        about=check.about,
        count=count,
        rows=tuple({name: str(value) for name, value in row.items()} for row in shown),
    )


def checked_by_indexes(database: Database) -> set[str]:
    """Queries of checks that need no reading, since a unique index has seen to it."""
    if not database.is_postgres:
        return set()
    return {grain_check(MARTS, model).sql for model in marts() if model.is_large}
