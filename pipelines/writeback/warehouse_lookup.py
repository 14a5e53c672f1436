"""What the warehouse shows of what is asked about."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson

from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Image, Value, duplicate_fields
from warehouse.lookup import (
    invoice_statuses,
    milestones_by_id,
    milestones_of_projects,
    project_currencies,
    projects_of_tasks,
)
from warehouse.reader import WarehouseReader

from .milestone import IMAGE, image, invoiced
from .requests import ChangeRequest


class WarehouseLookup:
    """What the warehouse shows of what is asked about.

    Args:
        query: The warehouse.
        asks: What is asked.
    """

    def __init__(self, query: WarehouseReader, asks: Sequence[ChangeRequest]) -> None:
        ids = {ask.milestone_id for ask in asks if ask.milestone_id}
        projects = {p for ask in asks if (p := ask.fields.get("workspace_id", "").strip())}
        columns = ("id", *IMAGE, "deleted_at", "access_lost_at")
        self._rows = milestones_by_id(query, columns, ids)
        self._twins: dict[tuple[Value, ...], list[str]] = {}
        for row in milestones_of_projects(query, columns, projects):
            self._twins.setdefault(tuple(duplicate_fields(_image(row))), []).append(row["id"])
        self._projects = project_currencies(query, projects)
        stories = {s for ask in asks if (s := ask.fields.get("story_id", "").strip())}
        stories |= {str(row["story_id"]) for row in self._rows.values() if row["story_id"]}
        self._stories = projects_of_tasks(query, stories)
        invoices = {
            id_
            for row in self._rows.values()
            for id_ in str(_image(row)["invoice_ids"] or "").split(",")
        }
        self._statuses = invoice_statuses(query, invoices)

    def milestone(self, id_: str | None) -> Image:
        """A milestone that can be written to.

        Raises:
            ChangeRefused: If there is none.
        """
        if not id_:
            raise ChangeRefused("milestone_id is missing")
        if (row := self._rows.get(id_)) is None:
            raise ChangeRefused(f"the warehouse knows no milestone {id_}")
        if row["deleted_at"] is not None:
            raise ChangeRefused(f"milestone {id_} is deleted")
        if row["access_lost_at"] is not None:
            raise ChangeRefused(f"milestone {id_} cannot be read any more: its project is hidden")
        return _image(row)

    def shows(self, id_: str | None, wanted: Image) -> bool:
        """Whether a milestone is like that."""
        row = self._rows.get(id_ or "")
        return row is not None and wanted.items() <= _image(row).items()

    def invoiced(self, found: Image) -> str:
        """Why a milestone counts as invoiced; empty if it does not."""
        return invoiced(found, self._statuses)

    def project(self, id_: str) -> str | None:
        """The currency of a project.

        Raises:
            ChangeRefused: If there is no such project.
        """
        if id_ not in self._projects:
            raise ChangeRefused(f"the warehouse knows no project {id_}")
        currency = self._projects[id_]
        return None if currency is None else str(currency)

    def project_of_story(self, id_: str) -> str | None:
        """The project of a task; None if the warehouse does not know it."""
        project = self._stories.get(id_)
        return None if project is None else str(project)

    def twins(self, after: Image) -> list[str]:
        """Milestones that look the same to a person."""
        return self._twins.get(tuple(duplicate_fields(after)), [])


def _image(row: Mapping[str, Any]) -> Image:
    """The warehouse's row as the wire would have it."""
    linked = row["invoice_ids"]
    day = row["date_to_invoice"]
    return image(
        {
            **row,
            "invoice_ids": orjson.loads(linked) if linked else None,
            "date_to_invoice": None if day is None else day.isoformat(),
        }
    )
