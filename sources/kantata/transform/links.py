"""Links between milestones and invoices: those added, and those removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from ..api.envelope import Record
from .records import ObservedRecord


@dataclass(frozen=True, kw_only=True)
class LinkChanges:
    """How the links between one milestone and invoices changed.

    Args:
        links: Ids of its invoices now, as ``linked_invoices`` lists them.
        rows: Rows to load: links added, then links removed.
        removed: Invoices it is no longer linked to.
    """

    links: str
    rows: list[dict[str, Any]]
    removed: frozenset[str]


def link_changes(observed: ObservedRecord, before: str) -> LinkChanges | None:
    """Compare a milestone's links to invoices with those before; None if they are the same."""
    links = linked_invoices(observed.record, before)
    if links == before:
        return None
    old, new = (frozenset(filter(None, text.split(","))) for text in (before, links))
    row = {"billing_milestone_id": observed.id, "observed_at": observed.observed_at}
    added = [row | {"invoice_id": id_, "removed_at": None} for id_ in sorted(new - old)]
    removed = [
        row | {"invoice_id": id_, "removed_at": observed.observed_at} for id_ in sorted(old - new)
    ]
    return LinkChanges(links=links, rows=added + removed, removed=old - new)


def linked_invoices(record: Record, before: str) -> str:
    """List the ids of the invoices a milestone links to, sorted, joined by commas.

    If the field is absent, the links stay as before; if it is null, there are none.
    """
    ids = record.get("invoice_ids", before)
    if not isinstance(ids, list):
        return "" if ids is None else before  # the record is rejected for another type
    if len(ids) < 2:
        return str(ids[0]) if ids else ""
    return ",".join(sorted(set(map(str, ids))))
