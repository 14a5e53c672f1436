"""What the sheet *Changes* of an exported workbook holds, and the hidden sheet behind it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from datetime import date
from decimal import Decimal

import orjson

from warehouse.account import AccountBinding
from warehouse.database import DATASET, STAGING
from warehouse.ledger.change import Image
from warehouse.lookup import MilestoneRow, invoice_statuses
from warehouse.reader import WarehouseReader, rows_by_id

from .milestone import invoiced_reason, milestone_image

SHEET = "Changes"
HIDDEN_SHEET = "_exported"
COLUMNS = ("milestone_id", "project", "currency", "title", "amount", "date", "reason")
LONGEST_CELL = 32_767  # characters, in Excel
EXACT_DIGITS = 15  # significant digits that Excel keeps of a number
FORMAT = "1"
HEAD = ("format", "address", "account_id", "run_id")  # rows of the hidden sheet, above its table
_MILESTONES = f"""
select {", ".join(f"m.{field.name}" for field in fields(MilestoneRow))},
    s.amount,
    w.title as project
from {DATASET}.billing_milestones m
join {STAGING}.billing_milestones s on s.id = m.id
left join {DATASET}.workspaces w on w.id = m.workspace_id
where m.deleted_at is null and m.access_lost_at is null and m.invoice_id is null
"""
_ORDER = "order by m.date_to_invoice, m.id"


@dataclass(frozen=True)
class SheetRow:
    """A milestone of the sheet, as it was exported.

    Args:
        image: The milestone.
        project: The title of its project.
        amount: Its amount in money; None if its minor unit is unknown.
    """

    image: Image
    project: str | None
    amount: Decimal | None

    @property
    def day(self) -> date | None:
        """The date of the sheet's milestone; None without one."""
        day = self.image["date_to_invoice"]
        return None if day is None else date.fromisoformat(str(day))

    def stored(self) -> str:
        """Return the values as the text that the hidden sheet holds."""
        amount = None if self.amount is None else f"{self.amount:f}"
        values = {"image": dict(self.image), "project": self.project, "amount": amount}
        # In ASCII and without `_x`, which a workbook escapes, so that a cell can hold any text.
        return json.dumps(values, separators=(",", ":")).replace("_x", "\\u005fx")

    @staticmethod
    def restored(text: str) -> SheetRow:
        """Return the row of the sheet whose stored text this is."""
        values = json.loads(text)
        amount = values["amount"]
        image = {**milestone_image(values["image"]), "invoice_ids": values["image"]["invoice_ids"]}
        return SheetRow(image, values["project"], None if amount is None else Decimal(amount))


def changeable_rows(
    reader: WarehouseReader, ids: Sequence[str] | None = None
) -> Iterator[tuple[str, SheetRow]]:
    """Yield the milestones for the sheet that can be changed, by id.

    Left out are deleted and invoiced ones, those with access lost, and those with a text too long
    for a cell.

    Args:
        reader: The warehouse.
        ids: The milestones to choose from, in this order; None for all, by date.
    """
    if ids is None:
        records = reader.records(_MILESTONES + _ORDER)
    else:
        found = {each["id"]: each for each in rows_by_id(reader, f"{_MILESTONES} and m.id", ids)}
        records = [found[id_] for id_ in ids if id_ in found]
    for record in records:
        if linked := record["invoice_ids"]:
            record["invoice_ids"] = [str(id_) for id_ in orjson.loads(linked)]
    linked_ids = {id_ for record in records for id_ in record["invoice_ids"] or ()}
    statuses = invoice_statuses(reader, linked_ids)
    for record in records:
        if day := record["date_to_invoice"]:
            record["date_to_invoice"] = day.isoformat()
        row = SheetRow(milestone_image(record), record["project"], record["amount"])
        if not invoiced_reason(row.image, statuses) and len(row.stored()) <= LONGEST_CELL:
            yield record["id"], row


def cell_text(text: str) -> str:
    """Return a text as a cell holds it: without characters that a workbook cannot hold."""
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    return re.sub(r"[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe\uffff]", "\ufffd", text)


def is_exact(amount: Decimal) -> bool:
    """Return whether a cell can hold an amount as a number without rounding it."""
    return len(amount.normalize().as_tuple().digits) <= EXACT_DIGITS


def head_rows(account: AccountBinding | None, run_id: str | None) -> list[tuple[str, str]]:
    """Return the first rows of the hidden sheet: its format, the account and the run."""
    address, account_id = (account.address, account.account_id) if account else ("", "")
    values = (FORMAT, address, account_id or "", run_id or "")
    return list(zip(HEAD, values, strict=True))
