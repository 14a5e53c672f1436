"""A milestone as a proposer sees it, and whether it is on an invoice."""

from __future__ import annotations

from collections.abc import Mapping

from warehouse.ledger.change import Image, Value

# What a proposer sees of a milestone, and what must not have changed when it is written to.
IMAGE = (
    "title",
    "amount_in_cents",
    "currency",
    "billing_type",
    "date_to_invoice",
    "workspace_id",
    "story_id",
    "invoice_id",
    "invoice_ids",
)
_IDS = ("workspace_id", "story_id", "invoice_id")


def image(record: Mapping[str, object]) -> Image:
    """A milestone's fields, ids as text and the ids of its invoices in one text."""
    return {name: _value(name, record.get(name)) for name in IMAGE}


def _value(name: str, value: object) -> Value:
    if name == "invoice_ids":
        return ",".join(sorted(map(str, value))) or None if isinstance(value, list) else None
    if name in _IDS:
        return None if value is None else str(value)
    return value if value is None or type(value) is int else str(value)


def invoiced(found: Image, statuses: Mapping[str, object]) -> str:
    """Why a milestone counts as invoiced: it is on an invoice that is not cancelled.

    Args:
        found: The milestone.
        statuses: The status of each invoice that is known, by id.
    """
    if found["invoice_id"] is not None:
        return f"it is on invoice {found['invoice_id']}"
    for id_ in filter(None, str(found["invoice_ids"] or "").split(",")):
        if statuses.get(id_) != "cancelled":
            return f"it is linked to invoice {id_}, which is not cancelled"
    return ""
