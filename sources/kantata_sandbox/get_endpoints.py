"""The GET endpoints."""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping

from . import list_selection
from .blank_records import Record
from .feed import EVENT_TYPES, schemas
from .milestone_filters import milestone_ids, restricted
from .project_fields import with_optional_fields
from .query import Query, Window, csv, read_includes, read_order, read_window
from .request import ApiRequest
from .responses import (
    ApiResponse,
    Maps,
    Problem,
    envelope,
    envelope_of_one,
    forbidden,
    invalid,
    json_response,
    not_found,
)
from .store import Store

Lister = Callable[[Store, Query], list[Record]]

MILESTONE_INCLUDES = ("external_references", "invoices", "story", "workspace")
_MILESTONES_BY = {
    "workspaces": "billing_milestones",
    "invoices": "billing_milestones",
    "external_references": "subject",
}
"""The include that side-loads milestones, by the list that knows it."""
_PAYLOADS = ("previous_payload", "current_payload", "payload_changes")


def present_milestone(store: Store, record: Record, included: tuple[str, ...]) -> Record:
    """Return a milestone as GET shows it: with the id arrays of its includes only."""
    id_ = record["id"]
    arrays: Record = {}
    if "external_references" in included:
        arrays["external_reference_ids"] = store.references_of.get(id_, [])
    if "invoices" in included:
        arrays["invoice_ids"] = store.invoices_of.get(id_, [])
    return store.shown({**record, **arrays} if arrays else record)


def _side_loads(store: Store, rows: list[Record], included: tuple[str, ...]) -> Maps:
    """Return what GET includes with milestones; each map is present even when it is empty."""
    maps: Maps = dict(store.extra_maps)
    if "external_references" in included:
        ids = (i for row in rows for i in store.references_of.get(row["id"], ()))
        maps["external_references"] = _pick(store.external_references, ids)
    if "invoices" in included:
        ids = (i for row in rows for i in store.invoices_of.get(row["id"], ()))
        shown = _pick(store.invoices, ids)
        maps["invoices"] = {id_: store.shown_invoice(row) for id_, row in shown.items()}
    if "story" in included:
        maps["stories"] = _pick(store.stories, (row["story_id"] for row in rows))
    if "workspace" in included:
        maps["workspaces"] = _pick(store.workspaces, (row["workspace_id"] for row in rows))
    return maps


def _pick(source: Mapping[str, Record], ids: Iterable[str]) -> dict[str, Record]:
    """Return the records of these ids that GET side-loads: those that exist and are not deleted."""
    # Unknown; worst case: a deleted task is not side-loaded, while story_id still names it.
    records = {id_: source[id_] for id_ in dict.fromkeys(ids) if id_ in source}
    return {id_: row for id_, row in records.items() if row.get("deleted_at") is None}


def milestones_response(
    request: ApiRequest, ids: Iterable[str], count: int, window: Window
) -> ApiResponse:
    """Return the envelope of these milestones with the includes of the request."""
    account, included = request.account, read_includes(request.query, MILESTONE_INCLUDES)
    rows = [account.true_milestones[id_] for id_ in ids]
    own = {row["id"]: present_milestone(account, row, included) for row in rows}
    return envelope(
        "billing_milestones",
        own,
        count=count,
        window=window,
        side_loads=_side_loads(account, rows, included),
    )


def list_milestones(request: ApiRequest) -> ApiResponse:
    """GET /billing_milestones."""
    account, page = request.account, read_window(request.query)
    if not restricted(account, request.query):
        descending = read_order(request.query, ("created_at",)).descending
        ids = account.creation_order.page(descending, page.start, page.stop or 0)
        return milestones_response(request, ids, len(account.creation_order), page)
    matching = request.select_ids("milestones", lambda: milestone_ids(account, request.query))
    return milestones_response(request, matching[page.start : page.stop], len(matching), page)


def show_milestone(request: ApiRequest) -> ApiResponse:
    """GET /billing_milestones/{id}: the same envelope, not a bare object."""
    if not request.account.sees_milestone(request.id):
        raise not_found()
    return milestones_response(request, [request.id], 1, read_window({}))


def _list(request: ApiRequest, key: str, lister: Lister, find: Mapping[str, Record]) -> ApiResponse:
    """Return the response of GET for a list: the rows of the requested page."""
    page = read_window(request.query)
    ids = request.select_ids(
        key, lambda: [row["id"] for row in lister(request.account, request.query)]
    )
    rows = [find[id_] for id_ in ids[page.start : page.stop]]
    return _response(request, key, rows, len(ids), page)


def _response(
    request: ApiRequest, key: str, rows: list[Record], count: int, page: Window
) -> ApiResponse:
    """Return GET's envelope of rows, with their milestones if the request includes them.

    A reference's milestone is its `subject`, and has no array.
    """
    account, own = request.account, {row["id"]: row for row in rows}
    if key == "invoices":
        own = {id_: account.shown_invoice(row) for id_, row in own.items()}
    maps: Maps = {}
    if key == "workspaces":
        own = with_optional_fields(account, request.query, own, maps)
    included = csv(request.query.get("include", ""))
    if _MILESTONES_BY.get(key) not in included:
        return envelope(key, own, count=count, window=page, side_loads=maps)
    of = _milestones_of(account, key, rows)
    if key != "external_references":
        own = {i: row | {"billing_milestone_ids": of.get(i, [])} for i, row in own.items()}
    ids = dict.fromkeys(id_ for many in of.values() for id_ in many)
    maps["billing_milestones"] = {id_: account.shown(account.true_milestones[id_]) for id_ in ids}
    return envelope(key, own, count=count, window=page, side_loads=maps)


def _milestones_of(store: Store, key: str, rows: list[Record]) -> dict[str, list[str]]:
    """Return the ids of the milestones that GET includes with each row."""
    if key == "external_references":
        return {row["id"]: [str(row["subject_id"])] for row in rows}
    ids = [row["id"] for row in rows]
    if key == "invoices":
        return {i: list(filter(store.sees_milestone, store.milestones_of.get(i, ()))) for i in ids}
    ids_by_project: defaultdict[str, list[str]] = defaultdict(list)
    for id_, milestone in store.true_milestones.items():
        ids_by_project[milestone["workspace_id"]].append(id_)
    return {id_: ids_by_project[id_] for id_ in ids}


def list_workspaces(request: ApiRequest) -> ApiResponse:
    """GET /workspaces."""
    return _list(request, "workspaces", list_selection.workspaces, request.account.workspaces)


def list_stories(request: ApiRequest) -> ApiResponse:
    """GET /stories."""
    return _list(request, "stories", list_selection.stories, request.account.stories)


def list_invoices(request: ApiRequest) -> ApiResponse:
    """GET /invoices."""
    return _list(request, "invoices", list_selection.invoices, request.account.invoices)


def list_currencies(request: ApiRequest) -> ApiResponse:
    """GET /currencies."""
    return _list(request, "currencies", list_selection.currencies, request.account.currencies)


def list_references(request: ApiRequest) -> ApiResponse:
    """GET /external_references."""
    if not request.query.get("subject_type"):
        raise invalid(Problem("subject_type is required", "subject_type"))
    find = request.account.external_references
    return _list(request, "external_references", list_selection.external_references, find)


def _show(request: ApiRequest, key: str, lister: Lister) -> ApiResponse:
    """Return one row for GET; default filters may hide it (API.md#one-milestone)."""
    query = {**request.query, "only": request.id}
    rows = lister(request.account, query)
    if not rows:
        raise not_found()
    return _response(request, key, rows, 1, read_window({}))


def show_workspace(request: ApiRequest) -> ApiResponse:
    """GET /workspaces/{id}: 404 for an archived one without include_archived=true."""
    return _show(request, "workspaces", list_selection.workspaces)


def show_story(request: ApiRequest) -> ApiResponse:
    """GET /stories/{id}."""
    return _show(request, "stories", list_selection.stories)


def show_invoice(request: ApiRequest) -> ApiResponse:
    """GET /invoices/{id}."""
    return _show(request, "invoices", list_selection.invoices)


def show_me(request: ApiRequest) -> ApiResponse:
    """GET /users/me."""
    return envelope_of_one("users", request.account.user)


def _need_feed(store: Store) -> None:
    """Refuse GET for events unless the feed is enabled and the user is an administrator."""
    if not store.feed.enabled:
        raise forbidden("Subscribed Events are not enabled for this account.")
    if not store.user["account_administrator"]:
        raise forbidden("You must be an account administrator to do this.")


def list_event_types(request: ApiRequest) -> ApiResponse:
    """GET /subscribed_events/event_types."""
    _need_feed(request.account)
    return json_response(
        {
            "subscribed_event_types": list(EVENT_TYPES),
            "subscribed_event_type_schemas": schemas(),
        }
    )


def list_events(request: ApiRequest) -> ApiResponse:
    """GET /subscribed_events."""
    account, page = request.account, read_window(request.query)
    _need_feed(account)
    events = list_selection.events(account, request.query)
    optional = csv(request.query.get("optional_fields", ""))
    hidden = {name for name in _PAYLOADS if name not in optional}
    own = {
        event["id"]: {name: value for name, value in event.items() if name not in hidden}
        | {"subject_ref": _subject_ref(account, event)}
        for event in events[page.start : page.stop]
    }
    maps = (
        _subjects(account, own.values())
        if "subject" in csv(request.query.get("include", ""))
        else {}
    )
    return envelope("subscribed_events", own, count=len(events), window=page, side_loads=maps)


def _sources(store: Store) -> dict[str, Mapping[str, Record]]:
    """Return the records that subjects of events can be, by the name GET gives their list."""
    return {
        "billing_milestones": store.true_milestones,
        "invoices": store.invoices,
        "workspaces": store.workspaces,
        "stories": store.stories,
    }


def _subject_ref(store: Store, event: Record) -> Record | None:
    """Return an event's subject as GET shows it; null once it is deleted, also in older events."""
    ref = event["subject_ref"]
    return ref if ref is not None and ref["id"] in _sources(store)[ref["key"]] else None


def _subjects(store: Store, events: Iterable[Record]) -> Maps:
    """Return the records that are the subjects of events, as GET side-loads them."""
    maps: Maps = {}
    for ref in (event["subject_ref"] for event in events if event["subject_ref"]):
        row = _sources(store)[ref["key"]][ref["id"]]
        maps.setdefault(ref["key"], {})[ref["id"]] = (
            store.shown(row) if ref["key"] == "billing_milestones" else row
        )
    return maps
