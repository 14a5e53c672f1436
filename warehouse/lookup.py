"""Rows of the raw tables by id, for those who know some ids and need their values."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from .database import DATASET
from .reader import WarehouseReader, rows_by_id


def milestones_by_id(
    query: WarehouseReader, columns: Sequence[str], ids: Iterable[str]
) -> dict[str, dict[str, Any]]:
    """Return these columns of milestones, deleted ones included, by id."""
    sql = f"select {', '.join(columns)} from {DATASET}.billing_milestones where id"
    return {row["id"]: row for row in rows_by_id(query, sql, ids)}


def milestones_of_projects(
    query: WarehouseReader, columns: Sequence[str], project_ids: Iterable[str]
) -> list[dict[str, Any]]:
    """Return these columns of the milestones of projects; deleted ones are left out."""
    sql = (
        f"select {', '.join(columns)} from {DATASET}.billing_milestones "
        "where deleted_at is null and workspace_id"
    )
    return rows_by_id(query, sql, project_ids)


def project_currencies(query: WarehouseReader, ids: Iterable[str]) -> dict[str, str | None]:
    """Return the currencies of projects by id."""
    return _values(query, "workspaces", "currency", ids)


def project_titles(query: WarehouseReader, ids: Iterable[str]) -> dict[str, str | None]:
    """Return the titles of projects by id."""
    return _values(query, "workspaces", "title", ids)


def projects_of_tasks(query: WarehouseReader, ids: Iterable[str]) -> dict[str, str | None]:
    """Return the project ids of tasks (stories) by the task's id."""
    return _values(query, "stories", "workspace_id", ids)


def invoice_statuses(query: WarehouseReader, ids: Iterable[str]) -> dict[str, str | None]:
    """Return the statuses of invoices by id."""
    return _values(query, "invoices", "status", ids)


def _values(
    query: WarehouseReader, table: str, column: str, ids: Iterable[str]
) -> dict[str, str | None]:
    sql = f"select id, {column} from {DATASET}.{table} where id"
    return {row["id"]: row[column] for row in rows_by_id(query, sql, ids)}
