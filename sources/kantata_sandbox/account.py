"""The account: what people do in Kantata's own screens, each action with the events it raises."""

from collections.abc import Mapping
from datetime import datetime
from typing import Self

from .blank_records import (
    BY_CODE,
    Record,
    account_id,
    invoice_record,
    milestone_record,
    reference_record,
)
from .clock import Clock, instant, moment_of, stamp
from .seed import DEFAULT_NOW, seed_store
from .store import Store


class Account(Store):
    """Mutators that can be called from any thread, and over HTTP by their names.

    They refuse only what makes no sense (KeyError, ValueError). The API's rules, such as refusing
    to edit an invoiced milestone, are enforced by the endpoints.
    """

    @classmethod
    def seeded(cls, milestones: int, seed: int, now: datetime | None = None) -> Self:
        """Build the account of a services firm; the same arguments always give the same account."""
        start = None if now is None else moment_of(now)
        today = moment_of(DEFAULT_NOW) if start is None else start
        account = cls(Clock(start, not_before=today), account_id(seed))
        seed_store(account, milestones=milestones, seed=seed, today=today)
        return account

    def advance(self, seconds: float) -> None:
        """Move the clock of the account's server forward."""
        with self.change():
            self.clock.advance(seconds)

    def set_feed(
        self,
        enabled: bool = True,
        delay_seconds: int = 0,
        copies: int = 1,
        administrator: bool = True,
    ) -> None:
        """Turn the feed on or off, make new events late or double, or revoke the admin role."""
        with self.change():
            self.feed.enabled = enabled
            self.feed.delay_seconds = delay_seconds
            self.feed.copies = copies
            self.user["account_administrator"] = administrator

    def create_milestone(self, **fields: object) -> str:
        """Create a milestone in the account and return its id; fields not given are plausible."""
        with self.change() as now:
            moment = moment_of(fields.pop("created_at", now))  # type: ignore[arg-type]
            reference = fields.pop("external_reference", None)
            workspace = self.workspaces[
                str(fields.get("workspace_id", next(iter(self.workspaces))))
            ]
            id_ = self.new_id("milestone")
            record = milestone_record(id_, workspace, stamp(moment)) | fields
            record |= {"id": id_, "workspace_id": workspace["id"]}
            self.true_milestones[id_] = record
            self.creation_order.add(id_, moment)
            if self.list_lag:
                self.listed_at[id_] = now + self.list_lag
            self.feed.emit("BillingMilestone", "created", now, after=record)
            if isinstance(reference, Mapping):
                self.save_reference(id_, dict(reference))
            return id_

    def update_milestone(self, id: str, **fields: object) -> None:
        """Edit a milestone. Equal values change nothing: no event, the same updated_at."""
        with self.change() as now:
            reference = fields.pop("external_reference", None)
            record = self.true_milestones[id]
            before = dict(record)
            self._assign(record, fields)
            if record != before:
                record["updated_at"] = fields.get("updated_at", stamp(now))
                self.feed.emit(
                    "BillingMilestone", "updated", now, before=before, after=dict(record)
                )
            if isinstance(reference, Mapping):
                # Unknown; worst case: a reference alone does not change the milestone's updated_at.
                self.save_reference(id, dict(reference))

    def silently_update_milestone(self, id: str, **fields: object) -> None:
        """Change a milestone of the account without an event and without changing updated_at."""
        with self.change():
            self._assign(self.true_milestones[id], fields)

    def _assign(self, record: Record, fields: Mapping[str, object]) -> None:
        """Assign fields to a milestone of the account, and keep the order of creation right."""
        if "created_at" in fields:
            moment = moment_of(fields["created_at"])  # type: ignore[arg-type]
            self.creation_order.discard(record["id"], instant(record["created_at"]))
            self.creation_order.add(record["id"], moment)
            fields = {**fields, "created_at": stamp(moment)}
        record.update(fields)

    def delete_milestone(self, id: str) -> None:
        """Delete a milestone of the account, invoiced or not, with its references and links."""
        with self.change() as now:
            record = self._drop_milestone(id)
            self.feed.emit("BillingMilestone", "deleted", now, before=record)

    def restore_milestone(self, record: Record) -> None:
        """Restore a deleted milestone as it was, as a vendor's support might do.

        Whether that ever happens is unknown. Worst case: no event is raised.
        """
        with self.change():
            self.true_milestones[record["id"]] = dict(record)
            self.creation_order.add(record["id"], instant(record["created_at"]))

    def side_load(self, name: str, records: Mapping[str, Record]) -> None:
        """Side-load records of another type with every page of milestones, included or not."""
        with self.change():
            self.extra_maps[name] = dict(records)

    def _drop_milestone(self, id_: str) -> Record:
        """Remove a milestone from the account with its references and links, without an event."""
        record = self.true_milestones.pop(id_)
        self.creation_order.discard(id_, instant(record["created_at"]))
        self._raw.pop(id_, None)
        for reference_id in self.references_of.pop(id_, []):
            del self.external_references[reference_id]
        for invoice_id in self.invoices_of.pop(id_, []):
            self.milestones_of[invoice_id].remove(id_)
        return record

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

    def update_story(self, id: str, **fields: object) -> None:
        """Change a task, for example `state="completed"`. Its milestones do not change."""
        with self.change() as now:
            story = self.stories[id]
            before = dict(story)
            story.update({"updated_at": stamp(now)} | fields)
            self.feed.emit("Story", "updated", now, before=before, after=dict(story))

    def rename_workspace(self, id: str, title: str) -> None:
        """Change the title of a project of the account."""
        self.update_workspace(id, title=title)

    def archive_workspace(self, id: str, archived: bool = True) -> None:
        """Archive a project of the account; its milestones stay in the list."""
        self.update_workspace(id, archived=archived)

    def update_workspace(self, id: str, **fields: object) -> None:
        """Change a project, for example its `currency`. Its milestones do not change."""
        with self.change() as now:
            workspace = self.workspaces[id]
            before = dict(workspace)
            if "currency" in fields:
                workspace["currency_base_unit"] = self._minor_units(str(fields["currency"]))
            workspace.update({"updated_at": stamp(now)} | fields)
            self.feed.emit("Workspace", "updated", now, before=before, after=dict(workspace))

    def _minor_units(self, iso_code: str) -> int | None:
        """Return how many minor units a currency of the account has; None if it has no record."""
        records = self.currencies.values()
        return next((c["subunit_to_unit"] for c in records if c["iso_code"] == iso_code), None)

    def update_currency(self, iso_code: str, subunit_to_unit: int) -> None:
        """Change how many minor units a currency has, also in projects and invoices.

        Milestones do not change, and no event reports it.
        """
        with self.change():
            for currency in self.currencies.values():
                if currency["iso_code"] == iso_code:
                    currency["subunit_to_unit"] = subunit_to_unit
            for record in (*self.workspaces.values(), *self.invoices.values()):
                if record["currency"] == iso_code:
                    record["currency_base_unit"] = subunit_to_unit

    def hide_workspace(self, id: str) -> None:
        """Remove the token's user from a project: it and its rows disappear without an error."""
        with self.change():
            self.hidden.add(self.workspaces[id]["id"])

    def unlist_milestones(self, *ids: str) -> None:
        """Leave milestones out of every list, and only these from now on, as a stale index might.

        Unknown. Worst case: the counts agree with what is left, and each can be read by its id.
        """
        with self.change():
            self.stale = set(ids)

    def set_list_lag(self, seconds: int) -> None:
        """Show milestones that are created from now on in lists only after some seconds.

        Unknown. Worst case: neither lists nor their references show what a POST has just created.
        """
        with self.change():
            self.list_lag = seconds

    def show_workspace(self, id: str) -> None:
        """Let the token's user see a project again."""
        with self.change():
            self.hidden.discard(id)

    def delete_workspace(self, id: str) -> None:
        """Delete a project of the account with its milestones and tasks.

        Unknown (API.md#subscribed-events). Worst case: the milestones raise no events.
        """
        with self.change() as now:
            workspace = self.workspaces.pop(id)
            for milestone in [m for m in self.true_milestones.values() if m["workspace_id"] == id]:
                self._drop_milestone(milestone["id"])
            self.stories = {i: s for i, s in self.stories.items() if s["workspace_id"] != id}
            self.feed.emit("Workspace", "deleted", now, before=workspace)

    def save_reference(self, milestone_id: str, fields: Mapping[str, object]) -> str:
        """Create or update a milestone's external reference, and return the reference's id.

        The match key is unknown (API.md#reference-endpoints). Here it is the subject and
        service_name, which is documented to be unique.
        """
        with self.change() as now:
            mine = self.references_of[self.true_milestones[milestone_id]["id"]]
            for id_ in mine:
                if self.external_references[id_]["service_name"] == fields["service_name"]:
                    changed = {"updated_at": stamp(now), "last_synced_at": stamp(now)}
                    self.external_references[id_].update(changed | dict(fields))
                    return id_
            id_ = self.new_id("reference")
            self.external_references[id_] = reference_record(id_, milestone_id, stamp(now)) | dict(
                fields
            )
            mine.append(id_)
            return id_

    def delete_reference(self, id: str) -> None:
        """Delete an external reference of the account."""
        with self.change():
            subject = str(self.external_references.pop(id)["subject_id"])
            self.references_of[subject].remove(id)
