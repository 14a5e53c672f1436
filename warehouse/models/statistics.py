"""Statistics for the planner of Postgres: what a build wrote in its transaction has none yet."""

from __future__ import annotations

from collections.abc import Sequence

from warehouse.database import Database


def analyze(database: Database, table: str, columns: Sequence[str] = ()) -> None:
    """Update the planner's statistics of a table on Postgres; DuckDB needs none.

    Without them the planner takes a table of one row for one of hundreds, and joins a million
    milestones with it by comparing each pair.

    Args:
        database: A connection.
        table: The table.
        columns: The columns that are joined; all if none is given, which takes longer.
    """
    if database.is_postgres:
        listed = f" ({', '.join(columns)})" if columns else ""
        database.execute(f"analyze {table}{listed}")
