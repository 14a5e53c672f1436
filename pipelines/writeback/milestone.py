"""A milestone as a proposer sees it, whether it is invoiced, and how it differs from a change.

Pure: plain values only.
"""

from __future__ import annotations

from collections.abc import Mapping

from warehouse.ledger.change import Action, Change, Image, Units, Value, value_words

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
_INVOICES = ("invoice_id", "invoice_ids")


def milestone_image(record: Mapping[str, object]) -> Image:
    """A milestone's fields, ids as text and the ids of its invoices in one text."""
    return {name: _image_value(name, record.get(name)) for name in IMAGE}


def _image_value(name: str, value: object) -> Value:
    if name == "invoice_ids":
        return ",".join(sorted(map(str, value))) or None if isinstance(value, list) else None
    if name in _IDS:
        return None if value is None else str(value)
    return value if value is None or type(value) is int else str(value)


def linked_invoices(image: Image) -> list[str]:
    """The ids of the invoices a milestone is linked to."""
    return [id_ for id_ in str(image["invoice_ids"] or "").split(",") if id_]


def invoiced_reason(image: Image, invoice_statuses: Mapping[str, object]) -> str:
    """Why a milestone counts as invoiced: it is on an invoice that is not cancelled.

    Args:
        image: The milestone.
        invoice_statuses: The status of each invoice that is known, by id.
    """
    if image["invoice_id"] is not None:
        return f"it is on invoice {image['invoice_id']}"
    for id_ in linked_invoices(image):
        if invoice_statuses.get(id_) != "cancelled":
            return f"it is linked to invoice {id_}, which is not cancelled"
    return ""


def has_requested_values(image: Image, change: Change) -> bool:
    """Whether a milestone has every value that a change asks for."""
    return all(image.get(name) == value for name, value in change.after.items())


def expected_image(change: Change) -> Image:
    """A milestone as it must be once a change was applied, as far as the change tells."""
    if change.action is Action.CREATE:
        unset = {"date_to_invoice": None, "story_id": None, "currency": change.currency}
        return {**unset, **change.after}
    applied = {**change.before, **change.after}
    return {name: value for name, value in applied.items() if name not in _INVOICES}


def differences(expected: Image, image: Image, units: Units) -> str:
    """Where a milestone is not as expected, in words."""
    return "; ".join(
        f"{_label(name)} is {value_words(name, image.get(name), image.get('currency'), units)}, "
        f"expected was {value_words(name, value, expected.get('currency'), units)}"
        for name, value in expected.items()
        if image.get(name) != value
    )


def edits_since_proposed(change: Change, image: Image, units: Units) -> str:
    """Where a milestone is not as it was when a change was proposed, in words."""
    return "; ".join(
        f"{_label(name)} was {value_words(name, value, change.currency, units)}, "
        f"is {value_words(name, image.get(name), image.get('currency'), units)}"
        for name, value in change.before.items()
        if image.get(name) != value
    )


def _label(name: str) -> str:
    return "amount" if name == "amount_in_cents" else name
