"""The image of a milestone, and whether it counts as invoiced."""

from __future__ import annotations

import pytest

from pipelines.writeback.milestone import IMAGE, invoiced_reason, milestone_image
from warehouse.ledger.change import Value

VALUES = {
    "text": ({"title": "Kick-off"}, "title", "Kick-off"),
    "an amount": ({"amount_in_cents": 50_000}, "amount_in_cents", 50_000),
    "an amount of nothing": ({"amount_in_cents": 0}, "amount_in_cents", 0),
    "an amount that is no whole number": ({"amount_in_cents": 1.5}, "amount_in_cents", "1.5"),
    "an amount that is true": ({"amount_in_cents": True}, "amount_in_cents", "True"),
    "an id as a number": ({"workspace_id": 3}, "workspace_id", "3"),
    "an id as text": ({"story_id": "12"}, "story_id", "12"),
    "the task's id as a number": ({"story_id": 12}, "story_id", "12"),
    "the invoice's id as a number": ({"invoice_id": 50}, "invoice_id", "50"),
    "an id that is null": ({"invoice_id": None}, "invoice_id", None),
    "invoices in another order": ({"invoice_ids": [51, "50"]}, "invoice_ids", "50,51"),
    "no invoices": ({"invoice_ids": []}, "invoice_ids", None),
    "invoices that are null": ({"invoice_ids": None}, "invoice_ids", None),
    "invoices that are no list": ({"invoice_ids": "50"}, "invoice_ids", None),
    "a field that is absent": ({}, "title", None),
    "a currency": ({"currency": "USD"}, "currency", "USD"),
    "a billing type": ({"billing_type": "fixed_date"}, "billing_type", "fixed_date"),
    "a date": ({"date_to_invoice": "2027-03-31"}, "date_to_invoice", "2027-03-31"),
}


@pytest.mark.parametrize(("record", "name", "value"), VALUES.values(), ids=VALUES)
def test_image(record: dict[str, object], name: str, value: Value) -> None:
    """Ids are text, amounts are whole numbers, and all other fields are null."""
    found = milestone_image(record | {"colour": "red"})
    assert (type(found[name]), found[name]) == (type(value), value)
    assert tuple(found) == IMAGE
    assert {other for other in found if found[other] is not None} <= {name}


INVOICED = {
    "a milestone without an invoice": (None, None, {}, None),
    "a milestone on an invoice": ("1850", None, {}, "1850"),
    "a milestone on a cancelled invoice is still on it": (
        "1850", "1850", {"1850": "cancelled"}, "1850",
    ),
    "a milestone linked to an invoice": (None, "1850", {"1850": "new"}, "1850"),
    "a milestone linked to an invoice that is not known": (None, "1850", {}, "1850"),
    "a milestone linked to an invoice without a status": (None, "1850", {"1850": None}, "1850"),
    "a milestone linked to a cancelled invoice": (None, "1850", {"1850": "cancelled"}, None),
    "a milestone linked to a cancelled invoice and another": (
        None, "1850,1851", {"1850": "cancelled", "1851": "paid"}, "1851",
    ),
    "a milestone linked to two cancelled invoices": (
        None, "1850,1851", {"1850": "cancelled", "1851": "cancelled"}, None,
    ),
}  # fmt: skip


@pytest.mark.parametrize(("on", "linked", "statuses", "why"), INVOICED.values(), ids=INVOICED)
def test_invoiced(on: Value, linked: Value, statuses: dict[str, object], why: str | None) -> None:
    """An own invoice, or a linked one that is not known to be cancelled, is named as the reason."""
    found = invoiced_reason({"invoice_id": on, "invoice_ids": linked}, statuses)
    assert f"invoice {why}" in found if why else found == ""
