"""A milestone as a proposer sees it, why it counts as invoiced, and how it differs from a change.

Pure: plain values only.
"""

from __future__ import annotations

from collections.abc import Mapping

from warehouse.ledger.change import Action, Change, Image, Units, Value, value_words

# The fields that a proposer sees, and that must be unchanged when a milestone is written.
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
    """Return the fields of a milestone record that a proposer sees.

    Ids are text; the ids of its invoices are one text, separated by commas.
    """
    return {name: _image_value(name, record.get(name)) for name in IMAGE}


def _image_value(name: str, value: object) -> Value:
    """Return a value of a milestone record in the form that its image has."""
    if name == "invoice_ids":
        return ",".join(sorted(map(str, value))) or None if isinstance(value, list) else None
    if name in _IDS:
        return None if value is None else str(value)
    return value if value is None or type(value) is int else str(value)


def linked_invoices(image: Image) -> list[str]:
    """Return the ids of the invoices that a milestone is linked to."""
    return [id_ for id_ in str(image["invoice_ids"] or "").split(",") if id_]


def invoiced_reason(image: Image, invoice_statuses: Mapping[str, object]) -> str:
    """Return the reason why a milestone counts as invoiced; empty if it does not.

    It counts as invoiced if it is on an invoice, or linked to one that is not cancelled.

    Args:
        image: The milestone.
        invoice_statuses: The status of each known invoice, by id.
    """
    if image["invoice_id"] is not None:
        id_ = image["invoice_id"]
        return f"it is on invoice {id_}; remove it from that invoice in Kantata first"
    for id_ in linked_invoices(image):
        if invoice_statuses.get(id_) != "cancelled":
            return (
                f"it is linked to invoice {id_}, which is not cancelled; remove it from that "
                "invoice in Kantata first"
            )
    return ""


def has_requested_values(image: Image, change: Change) -> bool:
    """Return whether a milestone has every value that a change requests."""
    return all(image.get(name) == value for name, value in change.after.items())


def expected_image(change: Change) -> Image:
    """Return the fields that a milestone must have after a change was applied."""
    if change.action is Action.CREATE:
        unset = {"date_to_invoice": None, "story_id": None, "currency": change.currency}
        return {**unset, **change.after}
    applied = {**change.before, **change.after}
    return {name: value for name, value in applied.items() if name not in _INVOICES}


def differences(expected: Image, image: Image, units: Units) -> str:
    """Describe each field of a milestone that differs from the expected one."""
    return "; ".join(
        f"{_label(name)} is {value_words(name, image.get(name), image.get('currency'), units)} "
        f"instead of {value_words(name, value, expected.get('currency'), units)}"
        for name, value in expected.items()
        if image.get(name) != value
    )


def edits_since_proposed(change: Change, image: Image, units: Units) -> str:
    """Describe each field of a milestone that was edited after a change of it was proposed."""
    return "; ".join(
        f"{_label(name)} was {value_words(name, value, change.currency, units)}, "
        f"is {value_words(name, image.get(name), image.get('currency'), units)}"
        for name, value in change.before.items()
        if image.get(name) != value
    )


def _label(name: str) -> str:
    """Return the name of a milestone's field as people read it."""
    return "amount" if name == "amount_in_cents" else name
