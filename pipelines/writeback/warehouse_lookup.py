"""Lookup in the warehouse of the milestones, projects and tasks that change requests name."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

from warehouse import lookup
from warehouse.errors import ChangeRefused
from warehouse.ledger.change import Action, Image, Value, duplicate_fields
from warehouse.lookup import MilestoneRow
from warehouse.raw.summary import uniform_minor_units
from warehouse.reader import WarehouseReader

from .fields import plain_id
from .milestone import invoiced_reason, linked_invoices, milestone_image
from .requests import ChangeRequest

_CHECK_ID = "check the id, or run `milestones sync`"


class WarehouseLookup:
    """Lookup of the milestones, projects, tasks and invoices that change requests name.

    Args:
        reader: The warehouse.
        requests: The change requests.
    """

    def __init__(self, reader: WarehouseReader, requests: Sequence[ChangeRequest]) -> None:
        ids = {request.milestone_id for request in requests if request.milestone_id}
        self._rows = lookup.milestones_by_id(reader, ids)
        images = [image_of_row(row) for row in self._rows.values()]
        projects = _values(requests, "workspace_id")
        self._currencies = lookup.project_currencies(reader, projects)
        has_money = any("amount" in request.fields for request in requests)
        self._units = uniform_minor_units(reader) if has_money else {}
        self._duplicates: dict[tuple[Value, ...], list[str]] = {}
        for row in lookup.milestones_of_projects(reader, projects):
            self._duplicates.setdefault(_duplicate_key(image_of_row(row)), []).append(row.id)
        tasks = _values(requests, "story_id")
        tasks |= {row.story_id for row in self._rows.values() if row.story_id}
        self._projects_of_tasks = lookup.projects_of_tasks(reader, tasks)
        invoices = {id_ for image in images for id_ in linked_invoices(image)}
        self._invoice_statuses = lookup.invoice_statuses(reader, invoices)

    def milestone(self, id_: str | None) -> Image:
        """Return a milestone of the warehouse that can be written to.

        Raises:
            ChangeRefused: If it does not exist, is deleted or cannot be read any more.
        """
        if not id_:
            raise ChangeRefused("the milestone_id is missing: fill in an id")
        if (row := self._rows.get(id_)) is None:
            raise ChangeRefused(f"the warehouse has no milestone {id_}: {_CHECK_ID}")
        if row.deleted_at is not None:
            raise ChangeRefused(f"milestone {id_} is deleted in Kantata")
        if row.access_lost_at is not None:
            raise ChangeRefused(
                f"milestone {id_} cannot be read any more: the token lost access to its project"
            )
        return image_of_row(row)

    def has_values(self, milestone_id: str | None, values: Image) -> bool:
        """Return whether a milestone has these values in the warehouse."""
        row = self._rows.get(milestone_id or "")
        return row is not None and values.items() <= image_of_row(row).items()

    def invoiced_reason(self, image: Image) -> str:
        """Return why a milestone counts as invoiced in the warehouse; empty if it does not."""
        return invoiced_reason(image, self._invoice_statuses)

    def project_currency(self, project_id: str) -> str | None:
        """Return the currency of a project in the warehouse.

        Raises:
            ChangeRefused: If the project does not exist.
        """
        if project_id not in self._currencies:
            raise ChangeRefused(f"the warehouse has no project {project_id}: {_CHECK_ID}")
        return self._currencies[project_id]

    def check_currency(self, request: ChangeRequest) -> None:
        """Refuse a request that says another currency than its milestone or project has.

        A milestone or project that does not exist is refused elsewhere.
        """
        if not (said := request.currency.strip()):
            return
        if request.action is Action.CREATE:
            project = plain_id(request.fields.get("workspace_id", ""))
            name, currency = f"project {project}", self._currencies.get(project, said)
        else:
            row = self._rows.get(request.milestone_id or "")
            name, currency = f"milestone {request.milestone_id}", row.currency if row else said
        if said.upper() != (currency or "").upper():
            raise ChangeRefused(
                f"currency is {said!r:.40}, but that of {name} is {currency or 'not known'}: "
                "correct the amount and the currency, or leave the currency empty"
            )

    def minor_unit(self, request: ChangeRequest) -> tuple[str, Decimal]:
        """Return the currency of a request's amount, and the value of one minor unit of it.

        Raises:
            ChangeRefused: If the milestone or project does not exist, or the minor unit is unknown.
        """
        if request.action is Action.CREATE:
            if not (project := plain_id(request.fields.get("workspace_id", ""))):
                raise ChangeRefused("workspace_id must be set")
            currency = self.project_currency(project)
        else:
            currency = str(self.milestone(request.milestone_id)["currency"] or "")
        if (unit := self._units.get(currency or "")) is None:
            raise ChangeRefused(
                f"the minor unit of {currency or 'the currency'} is not known, or not the same for "
                "all milestones: use amount_in_cents instead of amount"
            )
        return currency or "", unit

    def project_of_task(self, task_id: str) -> str | None:
        """Return the id of a task's project in the warehouse; None if it is unknown."""
        return self._projects_of_tasks.get(task_id)

    def duplicates(self, image: Image) -> list[str]:
        """Return the ids of milestones in the warehouse that equal a requested one."""
        return self._duplicates.get(_duplicate_key(image), [])


def _values(requests: Sequence[ChangeRequest], name: str) -> set[str]:
    """Return all values that change requests give to a field, to look up in the warehouse."""
    return {value for request in requests if (value := request.fields.get(name, "").strip())}


def _duplicate_key(image: Image) -> tuple[Value, ...]:
    """Return the values by which the lookup finds equal milestones of the warehouse."""
    return tuple(duplicate_fields(image))


def image_of_row(row: MilestoneRow) -> Image:
    """Return a row that was looked up in the warehouse as the fields that a proposer sees."""
    day = row.date_to_invoice
    record = vars(row) | {"date_to_invoice": None if day is None else day.isoformat()}
    return milestone_image(record)
