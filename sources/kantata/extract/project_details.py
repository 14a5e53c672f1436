"""Reads what `GET /workspaces` alone shows of projects: clients, leads and stages.

That list has a rate limit of its own, so all of it is read once a day, and in between only what new
projects show, and those that an earlier run could not read. Each field may be hidden from the
token's user: the column ``hidden`` names those.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import timedelta
from typing import Any

from ..api.envelope import Page, Record
from ..api.transport import Parameters
from ..errors import KantataUnavailable
from ..schema import PROJECT_DETAILS, WORKSPACES
from ..settings import ONLY_PER_REQUEST, PER_PAGE
from ..transform.rows import Batch
from .context import ExtractContext
from .deletions import NOT_ALLOWED
from .ids import in_numeric_order
from .tables import ExtractTables

READ_EVERY = timedelta(hours=23)  # once a day, also if a nightly run starts a little earlier
_TOO_OLD = timedelta(days=3)
_MAY_BE_HIDDEN = {  # columns, and their names in the marts
    "client": "client",
    "project_lead": "project_lead",
    "client_lead": "client_lead",
    "stage": "project_stage",
}
DETAILS_QUERY = {
    "include": "primary_workspace_group,primary_maven",
    "optional_fields": "provider_lead_name,client_lead_name,stage",
    "include_archived": "true",
}


class ProjectDetailsRead:
    """Reads the details of projects that milestones belong to, and compares them with their table.

    Args:
        context: The context of the run.
        tables: The raw tables.
    """

    def __init__(self, context: ExtractContext, tables: ExtractTables) -> None:
        self._context = context
        self._tables = tables
        self._side = tables.sides[PROJECT_DETAILS.name]

    def rows(self) -> Iterator[Batch]:
        """Read the details that are due, and yield the rows that differ."""
        ids = self._due()
        try:
            for page in self._pages(ids):
                wanted = page.records.keys() & set(ids)
                details = {id_: details_of(page.records[id_], page) for id_ in wanted}
                yield from self._side.compare(details, page.observed_at)
        except NOT_ALLOWED:
            self._side.unseen_rejects.clear()  # hidden as a whole: `hidden` of the marts says so
        except KantataUnavailable as error:
            self._side.unseen_rejects.clear()
            age = self._age()
            if age is None or age > _TOO_OLD:
                self._context.report.warnings.append(
                    "clients and leads of projects cannot be read now, so their last values stay: "
                    f"{error}"
                )
            return
        if self._is_due():
            self._context.report.read_project_details = True
        else:
            self._side.unseen_rejects.clear()  # of projects that are not due

    def _due(self) -> list[str]:
        """Return the projects to read: once a day all, else those without details.

        Of those that the warehouse knew, one request's worth, the newest first: the list may hide
        any number of projects.
        """
        projects = self._tables.sides[WORKSPACES.name]
        if self._is_due():
            return in_numeric_order(projects.ids())
        without = projects.ids() - self._side.ids() - projects.new_ids
        return in_numeric_order(
            projects.new_ids | set(in_numeric_order(without)[-ONLY_PER_REQUEST:])
        )

    def _is_due(self) -> bool:
        """Return whether the details of all projects are due."""
        age = self._age()
        return age is None or age > READ_EVERY

    def _age(self) -> timedelta | None:
        """Return how long ago all details were read; None if never."""
        last = self._context.request.project_details_read_at
        now = self._context.reader.server_time
        return None if last is None or now is None else now - last

    def _pages(self, ids: Sequence[str]) -> Iterator[Page]:
        """Yield the details of projects by their ids, or the whole list if that is fewer pages."""
        if not ids:
            return
        reader = self._context.reader
        query: Parameters = {**DETAILS_QUERY, "per_page": PER_PAGE}
        requests = -(-len(ids) // ONLY_PER_REQUEST)
        if requests > 1:
            page = reader.page(WORKSPACES.name, {**query, "page": 1})
            if page.pages <= requests:
                yield page
                for number in range(2, page.pages + 1):
                    yield reader.page(WORKSPACES.name, {**query, "page": number})
                return
        yield from reader.only(WORKSPACES.name, list(ids), **DETAILS_QUERY)


def details_of(project: Record, page: Page) -> Record:
    """Return a project's details: fields that are hidden from the token's user are absent.

    Args:
        project: The record of the project.
        page: The page it is on, with the names of clients and leads.
    """
    shown: Record = {"id": project.get("id")}
    groups, users = (page.side_loaded.get(name, {}) for name in ("workspace_groups", "users"))
    _add_named(shown, "client", project, "primary_workspace_group_id", groups, "name")
    _add_named(shown, "project_lead", project, "primary_maven_id", users, "full_name")
    for name, field in (
        ("project_lead", "provider_lead_name"),
        ("client_lead", "client_lead_name"),
        ("stage", "stage"),
    ):
        if project.get(field) is not None or (field in project and name not in shown):
            shown[name] = project[field]
    hidden = [label for name, label in _MAY_BE_HIDDEN.items() if name not in shown]
    return shown | {"hidden": ", ".join(hidden) or None}


def _add_named(
    shown: Record,
    name: str,
    project: Record,
    field: str,
    records: Mapping[str, Mapping[str, Any]],
    name_field: str,
) -> None:
    """Add the id that a field of the project holds, and the name of that record, if shown."""
    if field not in project:
        return
    id_ = shown[f"{name}_id"] = project[field]
    if id_ is None:
        shown[name] = None
    elif name_field in (record := records.get(str(id_), {})):
        shown[name] = record[name_field]
