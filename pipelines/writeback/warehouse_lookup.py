"""What the warehouse shows of what change requests are about."""

from __future__ import annotations

from collections.abc import Sequence

from warehouse import lookup
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Image, Value, duplicate_fields
from warehouse.lookup import MilestoneRow
from warehouse.reader import WarehouseReader

from .milestone import invoiced_reason, linked_invoices, milestone_image
from .requests import ChangeRequest


class WarehouseLookup:
    """What the warehouse shows of what change requests are about.

    Args:
        reader: The warehouse.
        requests: The change requests.
    """

    def __init__(self, reader: WarehouseReader, requests: Sequence[ChangeRequest]) -> None:
        ids = {request.milestone_id for request in requests if request.milestone_id}
        self._rows = lookup.milestones_by_id(reader, ids)
        images = [_image(row) for row in self._rows.values()]
        projects = _values(requests, "workspace_id")
        self._currencies = lookup.project_currencies(reader, projects)
        self._duplicates: dict[tuple[Value, ...], list[str]] = {}
        for row in lookup.milestones_of_projects(reader, projects):
            self._duplicates.setdefault(_duplicate_key(_image(row)), []).append(row.id)
        tasks = _values(requests, "story_id")
        tasks |= {row.story_id for row in self._rows.values() if row.story_id}
        self._projects_of_tasks = lookup.projects_of_tasks(reader, tasks)
        invoices = {id_ for image in images for id_ in linked_invoices(image)}
        self._invoice_statuses = lookup.invoice_statuses(reader, invoices)

    def milestone(self, id_: str | None) -> Image:
        """A milestone that can be written to.

        Raises:
            ChangeRefused: If there is none.
        """
        if not id_:
            raise ChangeRefused("milestone_id is missing")
        if (row := self._rows.get(id_)) is None:
            raise ChangeRefused(f"the warehouse knows no milestone {id_}")
        if row.deleted_at is not None:
            raise ChangeRefused(f"milestone {id_} is deleted")
        if row.access_lost_at is not None:
            raise ChangeRefused(f"milestone {id_} cannot be read any more: its project is hidden")
        return _image(row)

    def has_values(self, milestone_id: str | None, values: Image) -> bool:
        """Whether a milestone has these values."""
        row = self._rows.get(milestone_id or "")
        return row is not None and values.items() <= _image(row).items()

    def invoiced_reason(self, image: Image) -> str:
        """Why a milestone counts as invoiced; empty if it does not."""
        return invoiced_reason(image, self._invoice_statuses)

    def project_currency(self, project_id: str) -> str | None:
        """The currency of a project.

        Raises:
            ChangeRefused: If there is no such project.
        """
        if project_id not in self._currencies:
            raise ChangeRefused(f"the warehouse knows no project {project_id}")
        return self._currencies[project_id]

    def project_of_task(self, task_id: str) -> str | None:
        """The project of a task; None if the warehouse does not know it."""
        return self._projects_of_tasks.get(task_id)

    def duplicates(self, image: Image) -> list[str]:
        """The ids of milestones that look the same to a person."""
        return self._duplicates.get(_duplicate_key(image), [])


def _values(requests: Sequence[ChangeRequest], name: str) -> set[str]:
    """The values that change requests give to a field."""
    return {value for request in requests if (value := request.fields.get(name, "").strip())}


def _duplicate_key(image: Image) -> tuple[Value, ...]:
    return tuple(duplicate_fields(image))


def _image(row: MilestoneRow) -> Image:
    """The warehouse's row as Kantata would send it."""
    day = row.date_to_invoice
    record = vars(row) | {"date_to_invoice": None if day is None else day.isoformat()}
    return milestone_image(record)
