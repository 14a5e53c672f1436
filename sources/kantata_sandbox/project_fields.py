"""What GET /workspaces shows of projects only on request (API.md#workspace)."""

from collections.abc import Iterator

from .blank_records import Record
from .query import Query, csv
from .responses import Maps
from .store import Store

_OPTIONAL_FIELDS = frozenset({"provider_lead_name", "client_lead_name", "stage"})
_FIELD_OF_INCLUDE = {
    "primary_workspace_group": "primary_workspace_group_id",
    "primary_maven": "primary_maven_id",
}


def with_optional_fields(
    store: Store, query: Query, own: dict[str, Record], maps: Maps
) -> dict[str, Record]:
    """Return projects with the fields that the query requests and the token's user may see.

    Args:
        store: The account.
        query: The query.
        own: The projects, by id.
        maps: Gets the records that the query's includes side-load.
    """
    names = set(csv(query.get("optional_fields", ""))) & _OPTIONAL_FIELDS
    included = csv(query.get("include", ""))
    names |= {field for include, field in _FIELD_OF_INCLUDE.items() if include in included}
    shown = sorted(names - store.hidden_fields)
    fields = {id_: store.optional_fields.get(id_, {}) for id_ in own}
    own = {id_: row | {name: fields[id_].get(name) for name in shown} for id_, row in own.items()}
    if "primary_workspace_group" in included:
        ids = _ids(own, "primary_workspace_group_id")
        maps["workspace_groups"] = {id_: store.workspace_groups[id_] for id_ in ids}
    if "primary_maven" in included:
        maps["users"] = {id_: store.leads[id_] for id_ in _ids(own, "primary_maven_id")}
    return own


def _ids(projects: dict[str, Record], field: str) -> Iterator[str]:
    """Yield the ids that a field of the projects holds."""
    ids = (project.get(field) for project in projects.values())
    return (id_ for id_ in dict.fromkeys(ids) if id_)
