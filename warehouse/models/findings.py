"""Running the checks of the marts, and what they find."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, Protocol

from warehouse.database import MARTS, Database

from .sql_files import Model, Severity, checks, grain_check, marts

_ROWS_SHOWN = 10


@dataclass(frozen=True, kw_only=True)
class Finding:
    """The wrong rows that a check found.

    Args:
        check: The name of the check.
        severity: Whether it blocks the marts or warns.
        about: What should be true.
        count: The number of wrong rows.
        rows: The first of them, as text, by column.
    """

    check: str
    severity: Severity
    about: str
    count: int
    rows: tuple[dict[str, str], ...]

    def __str__(self) -> str:
        """Return the finding in one line."""
        first = ", ".join(f"{name} {value}" for name, value in self.rows[0].items())
        rows = "row" if self.count == 1 else "rows"
        return f"check {self.check} finds {self.count} wrong {rows} ({first}): {self.about}"


class Queryable(Protocol):
    """A connection to a warehouse, or a reader of it."""

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        """Return the rows of a check's query."""

    def records(self, sql: str) -> list[dict[str, Any]]:
        """Return the rows of a check's query as dictionaries, by column name."""


def run_checks(database: Queryable, skip: Collection[str] = ()) -> list[Finding]:
    """Run the checks of the marts and return their findings.

    Args:
        database: A warehouse whose marts are built.
        skip: The SQL of checks to leave out.

    Returns:
        The findings; none if every check passes.
    """
    findings = (_run_check(database, check) for check in checks() if check.sql not in skip)
    return [finding for finding in findings if finding]


def _run_check(database: Queryable, check: Model) -> Finding | None:
    """Run a check of the marts and return its finding; None if it passes."""
    count = database.rows(f"select count(*) from ({check.sql}) wrong")[0][0]
    if not count:
        return None
    # Sorted, since alerts compare the lines of two runs.
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
    """Return the SQL of checks that can have no finding: a unique index guarantees them."""
    if not database.is_postgres:
        return set()
    return {grain_check(MARTS, model).sql for model in marts() if model.is_large}
