"""Lookups by id in the raw tables of the warehouse: milestones, projects, tasks, invoices."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date, datetime
from typing import Any

import orjson

from .database import DATASET
from .reader import WarehouseReader, rows_by_id


@dataclass(frozen=True, kw_only=True)
class MilestoneRow:
    """A row of ``billing_milestones``.

    Args:
        id: The milestone's id.
        title: The title.
        amount_in_cents: The amount in minor units.
        currency: ISO code.
        billing_type: ``fixed_date`` or ``upon_completion``.
        date_to_invoice: The day on which it is due.
        workspace_id: The project's id.
        story_id: The task's id.
        invoice_id: The id of the invoice it is on.
        invoice_ids: The ids of the invoices it is linked to; None if they are unknown.
        deleted_at: When a run found it deleted; None if it exists.
        access_lost_at: When a run could no longer read its project; None if it can.
    """

    id: str
    title: str | None
    amount_in_cents: int | None
    currency: str | None
    billing_type: str | None
    date_to_invoice: date | None
    workspace_id: str
    story_id: str | None
    invoice_id: str | None
    invoice_ids: list[str] | None
    deleted_at: datetime | None
    access_lost_at: datetime | None


_MILESTONE_COLUMNS = ", ".join(field.name for field in fields(MilestoneRow))
_MILESTONES = f"select {_MILESTONE_COLUMNS} from {DATASET}.billing_milestones"


def milestones_by_id(reader: WarehouseReader, ids: Iterable[str]) -> dict[str, MilestoneRow]:
    """Look up the rows of these milestones by id, deleted ones included."""
    rows = map(_milestone_row, rows_by_id(reader, f"{_MILESTONES} where id", ids))
    return {row.id: row for row in rows}


def milestones_of_projects(
    reader: WarehouseReader, project_ids: Iterable[str]
) -> list[MilestoneRow]:
    """Look up the rows of all milestones of these projects, without deleted ones."""
    sql = f"{_MILESTONES} where deleted_at is null and workspace_id"
    return [_milestone_row(row) for row in rows_by_id(reader, sql, project_ids)]


def _milestone_row(row: dict[str, Any]) -> MilestoneRow:
    """Return a milestone that was looked up, with its linked invoice ids as a list."""
    linked = row["invoice_ids"]
    invoice_ids = [str(id_) for id_ in orjson.loads(linked)] if linked else None
    return MilestoneRow(**{**row, "invoice_ids": invoice_ids})


def project_currencies(
    reader: WarehouseReader, project_ids: Iterable[str]
) -> dict[str, str | None]:
    """Look up the currency of each of these projects by the project's id."""
    return _column_by_id(reader, "workspaces", "currency", project_ids)


def project_titles(reader: WarehouseReader, project_ids: Iterable[str]) -> dict[str, str | None]:
    """Look up the title of each of these projects by the project's id."""
    return _column_by_id(reader, "workspaces", "title", project_ids)


def projects_of_tasks(reader: WarehouseReader, task_ids: Iterable[str]) -> dict[str, str | None]:
    """Look up the project id of each of these tasks by the task's id."""
    return _column_by_id(reader, "stories", "workspace_id", task_ids)


def invoice_statuses(reader: WarehouseReader, invoice_ids: Iterable[str]) -> dict[str, str | None]:
    """Look up the status of each of these invoices by the invoice's id."""
    return _column_by_id(reader, "invoices", "status", invoice_ids)


def _column_by_id(
    reader: WarehouseReader, table: str, column: str, ids: Iterable[str]
) -> dict[str, str | None]:
    """Look up one column of a raw table by id."""
    sql = f"select id, {column} from {DATASET}.{table} where id"
    return {row["id"]: row[column] for row in rows_by_id(reader, sql, ids)}
