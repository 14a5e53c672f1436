"""What the warehouse says today about a change: whether its milestone is still as it was seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from decimal import Decimal

from warehouse import lookup
from warehouse.ledger.change import Action, Change, Image, Status, value_words
from warehouse.lookup import MilestoneRow
from warehouse.reader import WarehouseReader

from .milestone import invoiced_reason, linked_invoices
from .warehouse_lookup import image_of_row

_COMPARED = (
    "title", "amount_in_cents", "date_to_invoice", "billing_type", "story_id", "currency",
    "workspace_id",
)  # fmt: skip
_NAMES = {"amount_in_cents": "amount", "date_to_invoice": "date", "workspace_id": "project"}


def row_findings(
    reader: WarehouseReader, changes: Sequence[Change], units: Mapping[str, Decimal]
) -> dict[str, list[str]]:
    """Return what a person should know before they approve, by change; only of those not sent yet.

    A push asks the account itself. This is what the last run knows.

    Args:
        reader: The warehouse.
        changes: The changes.
        units: The value of one minor unit, by currency.
    """
    wanted = [c for c in changes if c.status in (Status.PROPOSED, Status.APPROVED)]
    rows = lookup.milestones_by_id(reader, {c.milestone_id for c in wanted if c.milestone_id})
    projects = lookup.project_titles(
        reader, {c.workspace_id for c in wanted if c.action is Action.CREATE}
    )
    images = {id_: image_of_row(row) for id_, row in rows.items()}
    statuses = lookup.invoice_statuses(
        reader, {id_ for image in images.values() for id_ in linked_invoices(image)}
    )
    found: dict[str, list[str]] = {}
    for change in wanted:
        if change.action is Action.CREATE:
            is_known = change.workspace_id in projects
            lines = [] if is_known else [f"The warehouse has no project {change.workspace_id}."]
        else:
            id_ = change.milestone_id or ""
            lines = _lines(change, rows.get(id_), images.get(id_, {}), statuses, units)
        if lines:
            found[change.change_id] = lines
    return found


def _lines(
    change: Change,
    row: MilestoneRow | None,
    image: Image,
    statuses: Mapping[str, str | None],
    units: Mapping[str, Decimal],
) -> list[str]:
    """Return the findings about the row of a change's milestone."""
    if row is None:
        return [f"The warehouse has no milestone {change.milestone_id}."]
    lines = []
    if row.deleted_at is not None:
        lines.append("The milestone is deleted in Kantata.")
    if row.access_lost_at is not None:
        lines.append("The milestone cannot be read any more: the access to its project was lost.")
    if why := invoiced_reason(image, statuses):
        lines.append(f"The milestone is invoiced: {why}.")
    for name in _COMPARED:
        if name in change.before and change.before[name] != image.get(name):
            seen, now = (
                value_words(name, fields.get(name), fields.get("currency"), units)
                for fields in (change.before, image)
            )
            lines.append(f"The {_NAMES.get(name, name)} is {now} by now; the proposer saw {seen}.")
    return lines
