"""The form on a milestone's page with which a change of it is proposed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from pipelines.writeback.milestone import invoiced_reason, linked_invoices
from pipelines.writeback.sheet_rows import SheetRow, changeable_rows
from pipelines.writeback.warehouse_lookup import image_of_row
from warehouse.lookup import MilestoneRow, invoice_statuses
from warehouse.raw.summary import minor_units
from warehouse.shared_reader import SharedReader

#: The fields of the form, and those of a change.
FIELDS = ("title", "amount", "amount_in_cents", "date_to_invoice")


@dataclass(frozen=True, kw_only=True)
class ProposalForm:
    """The form, or why there is none.

    Args:
        why_not: Why the milestone cannot be changed; empty if it can.
        seen: The milestone as the form shows it, to be sent with it.
        values: The values of the fields.
        amount_field: ``amount``, or ``amount_in_cents`` if the minor unit is unknown.
        currency: The currency of the amount.
    """

    why_not: str = ""
    seen: str = ""
    values: Mapping[str, str]
    amount_field: str = "amount"
    currency: str = ""


def proposal_form(
    reader: SharedReader, row: MilestoneRow, given: Mapping[str, str]
) -> ProposalForm:
    """Return the form for a milestone.

    Args:
        reader: The warehouse.
        row: The milestone.
        given: The values of a form that was refused; empty for a new one.
    """
    sheet_row = next((found for _, found in changeable_rows(reader, [row.id])), None)
    if sheet_row is None:
        return ProposalForm(why_not=_why_not(reader, row), values={})
    values = field_values(sheet_row, minor_units(reader))
    return ProposalForm(
        seen=given.get("seen") or sheet_row.stored(),
        values={"reason": "", **values, **given},
        amount_field="amount" if "amount" in values else "amount_in_cents",
        currency=str(sheet_row.image["currency"] or ""),
    )


def field_values(row: SheetRow, units: Mapping[str, Decimal]) -> dict[str, str]:
    """Return the values of a milestone as the form shows them."""
    image = row.image
    values = {
        "title": str(image["title"] or ""),
        "date_to_invoice": str(image["date_to_invoice"] or ""),
    }
    if row.amount is None:
        return values | {"amount_in_cents": str(image["amount_in_cents"])}
    unit = units.get(str(image["currency"]), Decimal(1))
    decimals = max(0, -int(min(unit.normalize(), row.amount, key=_exponent).as_tuple().exponent))
    return values | {"amount": f"{row.amount:.{decimals}f}"}


def _exponent(number: Decimal) -> int:
    """Return the exponent of a number of the form, without zeros at its end."""
    return int(number.normalize().as_tuple().exponent)


def _why_not(reader: SharedReader, row: MilestoneRow) -> str:
    """Return why there is no form for a milestone."""
    if row.deleted_at is not None:
        return "It is deleted in Kantata, so it cannot be changed."
    if row.access_lost_at is not None:
        return "Its project can no longer be read, so it cannot be changed."
    image = image_of_row(row)
    why = invoiced_reason(image, invoice_statuses(reader, linked_invoices(image)))
    return f"It cannot be changed: {why or 'its texts are too long for this form'}."
