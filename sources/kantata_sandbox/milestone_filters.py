"""The filters of GET /billing_milestones: exactly these 17 parameters (API.md#list-parameters)."""

from collections.abc import Callable, Iterable, Iterator

from .blank_records import Record
from .query import Query, csv, only_ids, read_order, truthy
from .store import Store

Check = Callable[[Record], bool]

_REFERENCE_FIELDS = {
    "external_reference_external_message": "external_message",
    "external_reference_external_status": "external_status",
    "external_reference_service_model": "service_model",
    "external_reference_service_name": "service_name",
}
_MAX_REFS = 200


def restricted(store: Store, query: Query) -> bool:
    """Return whether any filter restricts the milestones; if not, pages are slices of the index."""
    return only_ids(query) is not None or any(True for _ in _checks(store, query))


def milestone_ids(store: Store, query: Query) -> list[str]:
    """Return the ids of the milestones that match the filters, in order."""
    descending = read_order(query, ("created_at",)).descending
    checks = list(_checks(store, query))
    few = _candidates(store, query)
    rows: Iterable[Record]
    if few is None:
        rows = (store.true_milestones[id_] for id_ in store.creation_order.ids(descending))
    else:
        rows = _sorted(store, few, descending)
    return [row["id"] for row in rows if all(check(row) for check in checks)]


def _candidates(store: Store, query: Query) -> set[str] | None:
    """Return ids of milestones that filters find easily; None if all must be checked."""
    only = only_ids(query)
    if only is not None:
        return set(only)
    for name in (*_REFERENCE_FIELDS, "external_reference_service_model_refs"):
        if query.get(name):
            return {str(r["subject_id"]) for r in store.external_references.values()}
    return None


def _sorted(store: Store, ids: set[str], descending: bool) -> list[Record]:
    """Return the milestones of filtered ids by time of creation, ties by id."""
    by_id = sorted((i for i in ids if i in store.true_milestones), key=int)
    rows = [store.true_milestones[i] for i in by_id]
    return sorted(rows, key=store.created, reverse=descending)


def _checks(store: Store, query: Query) -> Iterator[Check]:
    """Yield the checks of the milestone filters in a query."""
    if store.hidden:
        yield lambda row: store.sees(row["workspace_id"])
    if unlisted := store.unlisted:
        yield lambda row: row["id"] not in unlisted
    for name, field in (("story_ids", "story_id"), ("workspace_ids", "workspace_id")):
        if query.get(name):
            yield _one_of(field, frozenset(csv(query[name])))
    yield from _date_checks(query.get("date_between", ""))
    yield from _reference_checks(store, query)


def _one_of(field: str, wanted: frozenset[str]) -> Check:
    """Return the filter by which a milestone's field has one of these values."""
    return lambda row: row[field] in wanted


def _date_checks(text: str) -> Iterator[Check]:
    """Yield the filter by which a milestone's date is in a range; none if it is invalid."""
    # Milestones without a date are left out (API.md#list-parameters). Unknown; worst case: an
    # invalid range is ignored.
    first, colon, last = text.partition(":")
    if colon and len(first) == len(last) == 10:
        yield lambda row: bool(row["date_to_invoice"]) and first <= row["date_to_invoice"] <= last


def _reference_checks(store: Store, query: Query) -> Iterator[Check]:
    """Yield the filters by which milestones have, or lack, certain external references."""
    # How several reference filters combine is unknown (API.md#unknowns, U8). Worst case: each
    # may be met by another reference of the milestone.
    for name, field in _REFERENCE_FIELDS.items():
        if query.get(name):
            yield _has(store, field, frozenset([query[name]]))
    if refs := csv(query.get("external_reference_service_model_refs", "")):
        yield _has(store, "service_model_ref", frozenset(refs[:_MAX_REFS]))
    if (ref := query.get("external_reference_service_model_ref", "")).isdigit():
        # Declared int32. Unknown; worst case: other texts are ignored.
        yield _has(store, "service_model_ref", frozenset([ref]))
    if status := query.get("external_reference_status"):
        # "successful or fail" here, while the references say "failed".
        yield _has(store, "status", frozenset(["failed" if status == "fail" else status]))
    if (wanted := truthy(query.get("has_external_references"))) is not None:
        yield lambda row: bool(store.references_of.get(row["id"])) is wanted
    if without := query.get("without_external_reference_service_name"):
        has = _has(store, "service_name", frozenset([without]))
        yield lambda row: not has(row)


def _has(store: Store, field: str, wanted: frozenset[str]) -> Check:
    """Return the filter by which a milestone has a reference with one of these values."""
    references = store.external_references

    def check(row: Record) -> bool:
        return any(references[i][field] in wanted for i in store.references_of.get(row["id"], ()))

    return check
