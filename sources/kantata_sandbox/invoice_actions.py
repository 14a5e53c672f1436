"""What people do in Kantata's screens with invoices."""

from .blank_records import BY_CODE, invoice_record
from .clock import stamp
from .store import Store


class InvoiceActions(Store):
    """Mutators of the account's invoices."""

    def invoice_milestone(self, id: str, draft: bool = False) -> str:
        """Put a milestone on a new invoice, and return the invoice's id.

        Unknown (API.md#unknowns, U3). Worst case: the milestone's updated_at stays, and only an
        invoice event is raised.
        """
        with self.change() as now:
            record = self.true_milestones[id]
            if record["invoice_id"] is not None:
                raise ValueError(f"milestone {id} is on invoice {record['invoice_id']} already")
            invoice_id = self.new_id("invoice")
            invoice = invoice_record(
                invoice_id, int(invoice_id), BY_CODE[record["currency"]], stamp(now)
            )
            invoice["currency_base_unit"] = self._minor_units(record["currency"])
            invoice |= {"draft": draft, "balance_in_cents": record["amount_in_cents"]}
            self.invoices[invoice_id] = invoice
            record["invoice_id"] = invoice_id
            self.invoices_of.setdefault(id, []).append(invoice_id)
            self.milestones_of[invoice_id].append(id)
            self.feed.emit("Invoice", "created", now, after=invoice)
            return invoice_id

    def cancel_invoice(self, invoice_id: str) -> None:
        """Cancel an invoice of the account: its milestones can be invoiced again.

        Unknown (API.md#unknowns, U4). Worst case: `invoice_id` becomes null, while `invoice_ids`
        keeps the cancelled invoice, and nothing shows that the milestone changed.
        """
        with self.change() as now:
            invoice = self.invoices[invoice_id]
            before = dict(invoice)
            invoice |= {"status": "cancelled", "balance_in_cents": 0, "updated_at": stamp(now)}
            self._release(invoice_id)
            self.feed.emit("Invoice", "updated", now, before=before, after=dict(invoice))

    def delete_invoice(self, invoice_id: str) -> None:
        """Delete a draft invoice of the account and its links.

        Raises:
            ValueError: only drafts can be deleted (API.md#invoiced).
        """
        with self.change() as now:
            invoice = self.invoices[invoice_id]
            if not invoice["draft"]:
                raise ValueError(f"invoice {invoice_id} is no draft")
            self._release(invoice_id)
            for milestone_id in self.milestones_of.pop(invoice_id, []):
                self.invoices_of[milestone_id].remove(invoice_id)
            del self.invoices[invoice_id]
            self.feed.emit("Invoice", "deleted", now, before=invoice)

    def _release(self, invoice_id: str) -> None:
        """Release the milestones that the account has on an invoice, so that they are on none."""
        for milestone_id in self.milestones_of.get(invoice_id, []):
            record = self.true_milestones[milestone_id]
            if record["invoice_id"] == invoice_id:
                record["invoice_id"] = None

    def update_invoice(self, invoice_id: str, **fields: object) -> None:
        """Change an invoice of the account, for example `draft=False` when it is sent."""
        with self.change() as now:
            invoice = self.invoices[invoice_id]
            before = dict(invoice)
            invoice.update({"updated_at": stamp(now)} | fields)
            self.feed.emit("Invoice", "updated", now, before=before, after=dict(invoice))

    def pay_invoice(self, invoice_id: str, amount_in_cents: int | None = None) -> None:
        """Pay an invoice of the account, or a part of it: its balance falls.

        Unknown. Worst case: nothing but `balance_in_cents` and, at 0, `status` shows a payment.
        """
        with self.change() as now:
            invoice = self.invoices[invoice_id]
            if invoice["draft"] or invoice["status"] != "new":
                raise ValueError(f"invoice {invoice_id} is not open")
            before = dict(invoice)
            paid = invoice["balance_in_cents"] if amount_in_cents is None else amount_in_cents
            invoice["balance_in_cents"] -= paid
            if not invoice["balance_in_cents"]:
                invoice["status"] = "accepted payment"
            invoice["updated_at"] = stamp(now)
            self.feed.emit("Invoice", "updated", now, before=before, after=dict(invoice))

    def hide_invoice_fields(self, *names: str) -> None:
        """Hide fields of invoices from the token's user, and only these from now on."""
        with self.change():
            self.hidden_invoice_fields = set(names)
