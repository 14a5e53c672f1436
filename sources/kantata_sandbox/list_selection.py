"""The other lists: which rows each shows, and in which order (API.md#side-loaded-records)."""

from collections.abc import Callable, Iterator

from . import query as q
from .blank_records import Record
from .clock import instant
from .feed import SUBJECT_TYPES
from .query import Query
from .store import Store

Check = Callable[[Record], bool]


def select(
    rows: list[Record], checks: list[Check], query: Query, orders: tuple[str, ...], default: str
) -> list[Record]:
    """Return the list's rows that pass all checks and `only`, in the requested order."""
    only = q.only_ids(query)
    if only is not None:
        wanted = set(only)
        checks = [lambda row: row["id"] in wanted, *checks]
    found = [row for row in rows if all(check(row) for check in checks)]
    by = q.read_order(query, orders, default)
    found.sort(key=lambda row: int(row["id"]))
    found.sort(key=lambda row: _sort_key(row[by.field]), reverse=by.descending)
    return found


def _sort_key(value: object) -> float:
    """Return the number by which a list's rows are sorted: a time's seconds, 0 for null."""
    return instant(value) if isinstance(value, str) else 0.0


def _time_checks(query: Query, fields: tuple[str, ...]) -> Iterator[Check]:
    """Yield the checks of a list's parameters such as `created_after` and `updated_before`."""
    for field in fields:
        stem = field.removesuffix("_at")
        after, before = (
            q.read_moment(query.get(f"{stem}_after")),
            q.read_moment(query.get(f"{stem}_before")),
        )
        if after is not None:
            yield _since(field, after)
        if before is not None:
            yield _until(field, before)


def _since(field: str, bound: int) -> Check:
    """Return the check that a list's row has a time after the bound."""
    # Whether the bound itself counts is unknown; worst case: changes of that second are left out.
    return lambda row: _sort_key(row[field]) > bound


def _until(field: str, bound: int) -> Check:
    """Return the check that a list's row has a time before the bound."""
    return lambda row: _sort_key(row[field]) < bound


def workspaces(store: Store, query: Query) -> list[Record]:
    """Select the list of projects; archived ones only with `include_archived=true`."""
    checks = list(_time_checks(query, ("created_at", "updated_at")))
    checks.append(lambda row: store.sees(row["id"]))
    if not q.truthy(query.get("include_archived")):
        checks.append(lambda row: not row["archived"])
    rows = list(store.workspaces.values())
    return select(rows, checks, query, ("created_at", "updated_at"), "created_at:desc")


def stories(store: Store, query: Query) -> list[Record]:
    """Select the list of tasks; archived, deleted and archived projects' ones only if requested."""
    checks: list[Check] = [lambda row: store.sees(row["workspace_id"])]
    if not q.truthy(query.get("show_archived")):
        checks.append(lambda row: not row["archived"])
    if not q.truthy(query.get("show_deleted")):
        checks.append(lambda row: row["deleted_at"] is None)
    if not q.truthy(query.get("show_from_archived_workspaces")):
        checks.append(lambda row: not store.workspaces[row["workspace_id"]]["archived"])
    if wanted := q.csv(query.get("workspace_id", "")):
        checks.append(lambda row: row["workspace_id"] in wanted)
    rows = list(store.stories.values())
    return select(rows, checks, query, ("created_at", "updated_at"), "created_at:desc")


def invoices(store: Store, query: Query) -> list[Record]:
    """Select the list of invoices, including drafts and cancelled ones."""
    checks = list(_time_checks(query, ("created_at", "updated_at")))
    if store.hidden:
        checks.append(lambda row: store.sees_invoice(row["id"]))
    rows = list(store.invoices.values())
    return select(rows, checks, query, ("created_at", "updated_at"), "created_at:desc")


def currencies(store: Store, query: Query) -> list[Record]:
    """Select the list of currencies, by id: they have no time of creation."""
    only = q.only_ids(query)
    return [row for id_, row in store.currencies.items() if only is None or id_ in only]


_REFERENCE_FILTERS = (
    "service_name", "service_model", "service_model_ref", "status", "external_status",
    "external_message",
)  # fmt: skip


def external_references(store: Store, query: Query) -> list[Record]:
    """Select the list of references of one `subject_type`; only milestones have any here."""
    checks = list(_time_checks(query, ("created_at", "updated_at", "last_synced_at")))
    checks += [_equals(name, query[name]) for name in _REFERENCE_FILTERS if query.get(name)]
    if store.hidden:
        checks.append(lambda row: store.sees_milestone(str(row["subject_id"])))
    if unlisted := store.unlisted:
        checks.append(lambda row: str(row["subject_id"]) not in unlisted)
    rows = _references_of(store, query)
    orders = ("created_at", "last_synced_at")
    return select(rows, checks, query, orders, "last_synced_at:desc")


def _equals(field: str, wanted: str) -> Check:
    """Return the check that a list's row has this text in a field."""
    return lambda row: row[field] == wanted


def _references_of(store: Store, query: Query) -> list[Record]:
    """Return the references from which to select: of one milestone, or of all."""
    if query.get("subject_type") != "BillingMilestone":
        return []
    if subject := query.get("subject_id"):
        return [store.external_references[i] for i in store.references_of.get(subject, ())]
    return list(store.external_references.values())


def events(store: Store, query: Query) -> list[Record]:
    """Select the list of events of the last nine days that are visible by now."""
    rows = store.feed.visible(store.clock.now())
    checks = [*_time_checks(query, ("created_at",)), *_event_checks(store, query)]
    return _most_recent(select(rows, checks, query, ("created_at",), "created_at:desc"), query)


def _event_checks(store: Store, query: Query) -> Iterator[Check]:
    """Yield the checks that select events by their type, user and subject."""
    if store.hidden:
        yield lambda row: _sees_event(store, row)
    if wanted := q.csv(query.get("event_types", "")):
        yield lambda row: row["event_type"] in wanted
    if users := q.csv(query.get("user_ids", "")):
        yield lambda row: str(row["user_id"]) in users
    if subject_type := query.get("subject_type"):
        # BillingMilestone is not an allowed value. Unknown; worst case: it finds nothing.
        yield lambda row: row["subject_type"] == subject_type and subject_type in SUBJECT_TYPES
        if subject_id := query.get("subject_id"):
            # Unknown; worst case: without subject_type it is ignored.
            yield lambda row: str(row["subject_id"]) == subject_id


def _sees_event(store: Store, event: Record) -> bool:
    """Return whether an event may be selected: the token's user can see its project."""
    if event["subject_type"] == "Workspace":
        return store.sees(str(event["subject_id"]))
    return store.sees(event["context_workspace_id"])


def _most_recent(rows: list[Record], query: Query) -> list[Record]:
    """Select the latest event of each subject, also by event type, if that is requested."""
    by_type = q.truthy(query.get("most_recent_by_event_type"))
    if not by_type and not q.truthy(query.get("most_recent")):
        return rows
    latest: dict[tuple[object, ...], Record] = {}
    for row in sorted(rows, key=lambda row: (instant(row["created_at"]), int(row["id"]))):
        kind = row["event_type"] if by_type else row["subject_type"]
        latest[(kind, row["subject_id"])] = row
    kept = {row["id"] for row in latest.values()}
    return [row for row in rows if row["id"] in kept]
