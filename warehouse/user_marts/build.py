"""Building users' marts, each in a transaction of its own.

One that fails keeps its last rows, and so do those that read it.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from typing import Protocol

from warehouse.errors import WarehouseError
from warehouse.target import Target

from .duckdb_builder import DuckDBBuilder
from .errors import UserMartFailed, UserSqlFailed
from .files import SCHEMA
from .limits import LIMITS, Limits
from .plan import PlannedMart, UserPlan
from .postgres_builder import PostgresBuilder
from .results import UserMartsResult


class _Builder(Protocol):
    """Builds users' marts on one kind of warehouse."""

    def build(self, mart: PlannedMart) -> tuple[str, ...]:
        """Build a user's mart; return what its warning checks found."""

    def finish(self, dropped: tuple[str, ...]) -> dict[str, str]:
        """Store what was built, drop tables without files; return why some were not, by name."""


def build_user_marts(
    target: Target, plan: UserPlan, *, now: Callable[[], datetime] = lambda: datetime.now(UTC),
    limits: Limits = LIMITS,
) -> UserMartsResult:  # fmt: skip
    """Build the users' marts that are not current, and drop those whose files were removed.

    Args:
        target: The warehouse; the caller must hold its lock, and no connection to its DuckDB file.
        plan: What to do.
        now: The clock of this machine, UTC.
        limits: What a mart may take.

    Returns:
        What requires action and which tables were dropped. No error of a user's mart is raised.
    """
    result = UserMartsResult(problems=[*plan.problems, *plan.warnings])
    if not plan.has_work:
        return result
    try:
        with _builder(target, plan, now, limits) as builder:
            _build_all(builder, plan, result)
            refused = builder.finish(plan.dropped)
        for name in plan.dropped:
            if name in refused:
                result.problems.append(f"{SCHEMA}.{name} was not dropped: {refused[name]}")
            else:
                result.dropped.append(f"{SCHEMA}.{name} was dropped: its file was removed")
    except (WarehouseError, OSError) as error:
        result.problems.append(
            f"the tables in {SCHEMA} were not all rebuilt: {error}. The next run tries again"
        )
    return result


def _builder(
    target: Target, plan: UserPlan, now: Callable[[], datetime], limits: Limits
) -> AbstractContextManager[_Builder]:
    """Return the builder of users' marts for a kind of warehouse, to be entered."""
    kind = PostgresBuilder if target.loader is None else DuckDBBuilder
    return kind(target, plan, now=now, limits=limits)


def _build_all(builder: _Builder, plan: UserPlan, result: UserMartsResult) -> None:
    """Build all users' marts of a plan that are not current; add what is wrong to the result."""
    failed: set[str] = set()
    for mart in plan.marts:
        name = mart.file.name
        if waiting := sorted(mart.file.reads & failed):
            failed.add(name)
            problem = mart.file.problem(f"not built, since {SCHEMA}.{waiting[0]} was not")
            result.problems.append(_sentence(problem) + _kept(plan, name))
        elif not mart.is_current:
            try:
                result.problems += builder.build(mart)
            except UserMartFailed as error:
                failed.add(name)
                result.problems.append(_sentence(str(error)) + _kept(plan, name))
            except UserSqlFailed as error:
                failed.add(name)
                problem = mart.file.problem(str(error), error.line)
                result.problems.append(_sentence(problem) + _kept(plan, name))


def _kept(plan: UserPlan, name: str) -> str:
    """Return the words that say what the table of a failed mart has."""
    if name in plan.built:
        return f" {SCHEMA}.{name} keeps its last rows"
    return f" {SCHEMA}.{name} is not built yet"


def _sentence(problem: str) -> str:
    """Return the problem of a failed mart as a sentence that another can follow."""
    return problem if problem.endswith(".") else f"{problem}."
